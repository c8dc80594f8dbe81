"""Resharding: puts deliveries into their shards again, after their locks or their database have changed."""

from sqlalchemy import ColumnElement, Connection, select

from extension_kit.deliveries.shards import shard_of
from extension_kit.deliveries.tables import deliveries
from extension_kit.store.bulk_statement import BulkStatement

_BATCH = 1000


def put_into_shards(connection: Connection, wanted: ColumnElement[bool]) -> None:
    """Write the shards of the deliveries that a condition holds for, in a transaction that writes."""
    columns = (deliveries.c.ref, deliveries.c.lock, deliveries.c.listener, deliveries.c.event_ref)
    query = select(*columns).where(wanted).order_by(deliveries.c.ref).limit(_BATCH)
    is_sqlite, last = connection.dialect.name == "sqlite", 0
    while rows := connection.execute(query.where(deliveries.c.ref > last)).all():
        _SHARDS.execute(connection, [(ref, shard_of(*place, is_sqlite=is_sqlite)) for ref, *place in rows])
        last = rows[-1].ref


_SHARDS = BulkStatement(
    "UPDATE deliveries SET shard = given.shard FROM {given} WHERE deliveries.ref = given.ref",
    {"ref": "bigint", "shard": "integer"},
)
