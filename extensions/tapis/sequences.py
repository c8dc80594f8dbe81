"""Test sequences: events that this server publishes to itself (Tapis Notifications, live docs: beginTestSequence)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from extension_kit.protocol import Kit, Transaction

from . import events, subscriptions
from .delivery_targets import Targets
from .envelope import ApiError
from .paging import ATTRIBUTES
from .series import end_series, series_key
from .settings import TapisSettings
from .tables import test_notifications, tests
from .times import iso
from .tokens import Caller

MAX_EVENTS = 1000
"""Events of a test sequence, and notifications kept for it, at most."""

_INTERVAL = timedelta(seconds=3)
_RETENTION = timedelta(days=1)
_SOURCE = "notifications"
_BATCH = 100

Sequence = Row[Any]
"""A row of ``tapis_tests``."""


def begin(
    transaction: Transaction,
    kit: Kit,
    settings: TapisSettings,
    caller: Caller,
    *,
    base_url: str,
    ttl_minutes: int,
    number_of_events: int,
    ends_series: bool,
) -> subscriptions.Subscription:
    """Begin a test sequence: make a subscription with this server as its target, and publish the first event.

    ``publish_due`` publishes the other events, one every three seconds.

    Args:
        transaction: everything is written in it.
        kit: the kit.
        settings: the extension's.
        caller: a service.
        base_url: the URL by which this server can call itself.
        ttl_minutes: time to live of the subscription.
        number_of_events: events to publish, 1 or more.
        ends_series: True if the last event ends the series.

    Raises:
        ApiError: 400, the URL cannot be called.
    """
    name = str(uuid4())
    connection = transaction.connection
    url = f"{base_url}/v3/notifications/test/callback/{name}/"
    wanted = {
        "name": name,
        "description": None,
        "owner": caller.user,
        "enabled": True,
        "type_filter": "notifications.test.*",
        "subject_filter": name,
        "delivery_targets": [{"delivery_method": "WEBHOOK", "delivery_address": url}],
        "ttl_minutes": ttl_minutes,
    }
    row = subscriptions.create(Targets(connection, kit, settings), connection, caller, wanted)
    now = datetime.now(UTC)
    added = insert(tests).values(
        name=name,
        tenant=caller.tenant,
        owner=caller.user,
        user=caller.user,
        start_count=number_of_events,
        published=0,
        next_at=now,
        ends_series=ends_series,
        keep_until=row.expiry + _RETENTION if row.expiry else None,
        created=now,
        updated=now,
    )
    _publish_next(transaction, kit, settings, connection.execute(added.returning(*tests.c)).one())
    return row


def publish_due(kit: Kit, settings: TapisSettings) -> None:
    """Publish the due events of test sequences, and remove old sequences."""
    now = datetime.now(UTC)
    with kit.read() as connection:
        due = connection.execute(select(tests.c.name).where(tests.c.next_at <= now).limit(_BATCH)).scalars().all()
        old = connection.execute(select(tests.c.name).where(tests.c.keep_until < now).limit(_BATCH)).scalars().all()
    for name in due:
        with kit.transaction() as transaction:
            # Another worker may have published it meanwhile.
            still_due = select(tests).where(tests.c.name == name, tests.c.next_at <= now).with_for_update()
            if (row := transaction.connection.execute(still_due).one_or_none()) is not None:
                _publish_next(transaction, kit, settings, row)
    if old:
        with kit.transaction() as transaction:
            transaction.connection.execute(delete(tests).where(tests.c.name.in_(old)))


def find(connection: Connection, tenant: str, name: str, *, lock: bool = False) -> Sequence | None:
    """Return a test sequence, or None; ``lock`` keeps its row locked until the commit."""
    query = select(tests).where(tests.c.tenant == tenant, tests.c.name == name)
    return connection.execute(query.with_for_update() if lock else query).one_or_none()


def remove(transaction: Transaction, kit: Kit, settings: TapisSettings, row: Sequence) -> None:
    """Remove a locked test sequence, with its subscription, its results and its series."""
    connection = transaction.connection
    subscription = subscriptions.find(connection, row.tenant, row.owner, row.name, lock=True)
    if subscription is not None:
        subscriptions.remove(Targets(connection, kit, settings), connection, subscription)
    if (key := series_key(row.tenant, _SOURCE, row.name, row.name)) is not None:
        end_series(connection, key)
    connection.execute(delete(tests).where(tests.c.name == row.name))


def record(kit: Kit, name: str, body: Mapping[str, Any]) -> None:
    """Record a notification that a test sequence received.

    Raises:
        ApiError: 400, there is no such sequence, or it has ``MAX_EVENTS`` notifications.
    """
    mine = select(tests.c.name).where(tests.c.name == name)
    with kit.read() as connection:  # callers need no token: no write lock before the sequence is found
        _check_room(connection, name, connection.execute(mine).scalar())
    with kit.transaction() as transaction:
        connection = transaction.connection
        _check_room(connection, name, connection.execute(mine.with_for_update()).scalar())
        connection.execute(insert(test_notifications).values(test=name, body=dict(body)))
        connection.execute(update(tests).where(tests.c.name == name).values(updated=datetime.now(UTC)))


def to_json(connection: Connection, row: Sequence) -> dict[str, Any]:
    """Return the JSON of a test sequence: the keys that Tapis sends, and those that its live docs name."""
    query = select(test_notifications.c.body).where(test_notifications.c.test == row.name)
    received = connection.execute(query.order_by(test_notifications.c.ref)).scalars().all()
    subscription = subscriptions.find(connection, row.tenant, row.owner, row.name)
    return {
        "tenant": row.tenant,
        "owner": row.owner,
        "subscriptionName": row.name,
        "startCount": row.start_count,
        "notificationCount": len(received),
        "receivedNotifications": received,
        "created": iso(row.created),
        "updated": iso(row.updated),
        "subscription": subscriptions.to_json(subscription, ATTRIBUTES) if subscription is not None else None,
        "receivedEvents": [body["event"] for body in received],
    }


def _check_room(connection: Connection, name: str, found: str | None) -> None:
    if found is None:
        raise ApiError(400, "NTFAPI_TEST_NOT_FOUND", f"there is no test sequence {name:.80}")
    mine = select(func.count()).select_from(test_notifications).where(test_notifications.c.test == name)
    if connection.execute(mine).scalar_one() >= MAX_EVENTS:
        raise ApiError(400, "NTFAPI_TEST_FULL", f"the test sequence {name} has {MAX_EVENTS} notifications already")


def _publish_next(transaction: Transaction, kit: Kit, settings: TapisSettings, row: Sequence) -> None:
    now = datetime.now(UTC)
    number = row.published + 1
    is_last = number >= row.start_count
    event = {
        "source": _SOURCE,
        "type": "notifications.test.begin" if number == 1 else f"notifications.test.number{number:03d}",
        "timestamp": iso(now),
        "subject": row.name,
        "data": None,
        "series_id": row.name,
        "end_series": is_last and row.ends_series,
        "delete_subscriptions_matching_subject": False,
    }
    events.publish(transaction, kit, settings, event, tenant=row.tenant, user=row.user)
    changes = {"published": number, "next_at": None if is_last else now + _INTERVAL, "updated": now}
    transaction.connection.execute(update(tests).where(tests.c.name == row.name).values(changes))
