"""Upkeep: ends executions whose deliveries have ended without a result, and removes old events."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, select, tuple_, update

from extension_kit.protocol import Delivery, Kit, delete_in_batches, subscriptions

from .encryption import Encryption
from .received_event import SOURCE
from .runs import Logged, end, run_event_id
from .settings import EventhosSettings
from .tables import ERROR, contracts, executions, received

logger = logging.getLogger("extension_kit.eventhos")

_LEAST_AGE = timedelta(minutes=5)  # of executions that are looked at: attempts usually end sooner
_MOST_REMOVED = 100


class LostExecutions:
    """The periodic task that ends executions whose deliveries have ended without a result, so that others begin.

    The kit gives a delivery up if the process dies in every attempt, or when an operator ends it. A call looks at a
    limited number of executions, and the next call goes on behind them.

    Args:
        batch: maximum number of executions that are read at once.
        batches: maximum number of batches of a call.
    """

    def __init__(self, batch: int = 500, batches: int = 10) -> None:
        self._batch = batch
        self._batches = batches
        self._last = (0, 0)

    def __call__(self, kit: Kit, settings: EventhosSettings, now: datetime | None = None) -> int:
        """End lost executions, and return their number."""
        encryption = Encryption.of(kit, settings)
        latest, lost = (now or datetime.now(UTC)) - _LEAST_AGE, 0
        for _ in range(self._batches):
            with kit.read() as connection:
                rows = connection.execute(_PENDING.where(self._last < _PLACE).limit(self._batch)).all()
                started = [row for row in rows if row.started_at is not None and row.started_at < latest]
                errors = _errors(connection, started)
            for row, error in zip(started, errors, strict=True):
                lost += error is not None and _end(kit, encryption, row, error)
            if len(rows) < self._batch:
                self._last = (0, 0)
                break
            self._last = (rows[-1].contract, rows[-1].id)
        return lost


def _errors(connection: Connection, rows: Sequence[Row[Any]]) -> list[str | None]:
    """Return for each execution the error of its delivery that has ended; None for one that waits."""
    wanted = [(row.subscription, run_event_id(row.run)) for row in rows]
    found = {
        (delivery.subscription, delivery.event_id): delivery
        for delivery in subscriptions.deliveries_of_events(connection, SOURCE, wanted)
    }
    return [_error(found.get(each)) for each in wanted]


def _error(delivery: Delivery | None) -> str | None:
    if delivery is None:
        return "its delivery was removed"
    return None if delivery.status == "waiting" else delivery.error or "its delivery was ended"


def _end(kit: Kit, encryption: Encryption, row: Row[Any], error: str) -> bool:
    response = {"status": "ERROR", "statusText": error, "headers": {}, "body": {}}
    call = Logged(encryption.encrypt({}), encryption.encrypt(response), 0.0)
    with kit.transaction() as transaction:
        is_lost = end(transaction, row, ERROR, call)
    if is_lost:
        logger.error("Execution %d ended without a result: %s", row.id, error)
    return is_lost


_PLACE = tuple_(executions.c.contract, executions.c.id)
"""Place of an execution among those that have not ended, in the order of an index."""

_PENDING: Select[Any] = (
    select(
        executions.c.id,
        executions.c.received,
        executions.c.contract,
        executions.c.run,
        executions.c.started_at,
        contracts.c.subscription,
    )
    .join(contracts, contracts.c.id == executions.c.contract)
    .where(executions.c.state.is_(None))
    .order_by(executions.c.contract, executions.c.id)
)


def remove_old(kit: Kit, settings: EventhosSettings, now: datetime | None = None) -> int:
    """Delete events older than ``EXTENSION_RETENTION_DAYS`` from the log, in small transactions.

    Those with an execution that has not ended stay, because others may wait for it.

    Returns:
        The number of deleted events.
    """
    horizon = (now or datetime.now(UTC)) - timedelta(days=kit.settings.retention_days)
    pending = executions.alias()
    is_over = ~exists().where(pending.c.received == received.c.id, pending.c.state.is_(None))
    old = select(received.c.id).where(received.c.received_at < horizon, is_over)
    delete_in_batches(kit.database, executions, executions.c.received.in_(old))
    return delete_in_batches(kit.database, received, (received.c.received_at < horizon) & is_over)


def remove_subscriptions(kit: Kit, settings: EventhosSettings) -> int:
    """Remove the subscriptions of deleted contracts whose last execution has ended, and return their number."""
    pending = select(executions.c.id).where(executions.c.contract == contracts.c.id, executions.c.state.is_(None))
    idle = contracts.c.deleted & contracts.c.subscription.is_not(None) & ~pending.exists()
    with kit.read() as connection:
        rows = connection.execute(
            select(contracts.c.id, contracts.c.subscription).where(idle).limit(_MOST_REMOVED)
        ).all()
    for row in rows:
        with kit.transaction() as transaction:
            connection = transaction.connection
            changed = update(contracts).where(contracts.c.id == row.id, idle).values(subscription=None)
            if connection.execute(changed).rowcount:
                subscriptions.remove(connection, row.subscription)
    return len(rows)
