"""Call up: makes the next delivery of a lock ready when the one before it has ended."""

# ruff: noqa: S608 (only constants are put into statements)

from collections.abc import Collection

from sqlalchemy import Connection

from extension_kit.deliveries.tables import BEHIND, READY, WAITING
from extension_kit.store.bulk_statement import BulkStatement


def call_up(connection: Connection, locks: Collection[str]) -> None:
    """Make the first waiting delivery of each lock ready, if it was behind another.

    Args:
        connection: in the transaction that has ended the deliveries before.
        locks: at least one.
    """
    rows = [(lock,) for lock in sorted(locks)]
    if connection.dialect.name == "sqlite":
        _CALL_UP.execute(connection, rows)
        return
    # A first one may have ended by hand while its row was waited for; then there is another.
    while _CALL_UP_AND_COMPARE.execute(connection, rows) != [(0,)]:
        pass


_FIRST = f"""
    SELECT head.ref FROM deliveries AS head WHERE head.lock = given.lock AND head.status = '{WAITING}'
    ORDER BY head.ref LIMIT 1
"""
_CALL_UP = BulkStatement(
    f"""
    UPDATE deliveries SET stage = '{READY}' WHERE stage = '{BEHIND}' AND ref IN (SELECT ({_FIRST}) FROM {{given}})
    """,
    {"lock": "text"},
)
_CALL_UP_AND_COMPARE = BulkStatement(
    f"""
    WITH first AS MATERIALIZED (
        SELECT one.ref FROM {{given}} CROSS JOIN LATERAL ({_FIRST}) AS head JOIN deliveries AS one ON one.ref = head.ref
        WHERE one.stage = '{BEHIND}' ORDER BY one.ref
    ), called AS (
        UPDATE deliveries SET stage = '{READY}' FROM first
        WHERE deliveries.ref = first.ref AND deliveries.stage = '{BEHIND}' RETURNING deliveries.ref
    )
    SELECT (SELECT count(*) FROM first) - (SELECT count(*) FROM called)
    """,
    {"lock": "text"},
)
