"""Action rows: the record of people's replays, discards, retries, pauses and resumes, and of their progress."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, Update, insert, select, update

from extension_kit.deliveries.tables import actions, bounded
from extension_kit.errors import ExtensionKitError
from extension_kit.store.batches import delete_in_batches
from extension_kit.store.database import Database

REPLAY: Final = "replay"
DISCARD: Final = "discard"
RETRY_NOW: Final = "retry now"
PAUSE: Final = "pause"
RESUME: Final = "resume"
"""Kinds of actions."""

RUNNING, DONE, FAILED, CANCELLED, INTERRUPTED = "running", "done", "failed", "cancelled", "interrupted"
"""States of an action; interrupted is one whose process gives no sign of life."""

COMMAND_LINE = "command line"
"""Name in ``made_by`` of those who act by a command."""

ALIVE = timedelta(seconds=30)
"""Time since the last sign of life after which an action that has not ended is interrupted."""

MOST = 10_000
"""Number of rows that retention keeps."""

_CANCELLED_BY = "Cancelled by "
_GOING_ON = actions.c.ended_at.is_(None)


class ActionCancelled(ExtensionKitError):
    """Somebody has cancelled an action that goes on; the message is a sentence with the name."""


def begin(connection: Connection, kind: str, made_by: str, wanted: str, expected: int, now: datetime) -> int:
    """Insert the row of an action that goes on, and return its number.

    Args:
        connection: in a transaction.
        kind: one of the kinds of actions.
        made_by: name of a person, or ``COMMAND_LINE``; a long one is shortened.
        wanted: filter of the deliveries as in the address of the page, or the key of a receiver.
        expected: number of deliveries that match.
        now: time of the beginning.
    """
    return _insert(connection, kind, made_by, wanted, expected=expected, changed=0, started_at=now, seen_at=now)


def add_receiver_action(connection: Connection, kind: str, listener: str, made_by: str) -> None:
    """Insert the row of an action that is done: a receiver was paused or resumed.

    Args:
        connection: in the transaction that has paused or resumed it.
        kind: ``PAUSE`` or ``RESUME``.
        listener: key of the receiver. It counts as one that matched and was changed.
        made_by: as for ``begin``.
    """
    now = datetime.now(UTC)
    times = {"started_at": now, "seen_at": now, "ended_at": now}
    _insert(connection, kind, made_by, bounded(listener), expected=1, changed=1, **times)


def report(connection: Connection, ref: int, changed: int, skipped: int, now: datetime) -> None:
    """Write the progress of an action: numbers of deliveries changed so far, and skipped.

    Raises:
        ActionCancelled: it is to end now.
    """
    progress = _update([ref], changed=changed, skipped=skipped, seen_at=now).returning(actions.c.error)
    if (cancelled := connection.execute(progress).scalar()) is not None:
        raise ActionCancelled(cancelled)


def give_sign(connection: Connection, refs: Collection[int], now: datetime) -> None:
    """Write a sign of life of actions that have not ended."""
    connection.execute(_update(refs, seen_at=now))


def end(connection: Connection, ref: int, changed: int, skipped: int, now: datetime, error: str | None = None) -> None:
    """Write the end of an action; ``error`` says why it ended early."""
    connection.execute(_update([ref], changed=changed, skipped=skipped, seen_at=now, ended_at=now, error=error))


def cancel(connection: Connection, ref: int, cancelled_by: str, now: datetime) -> bool:
    """Have the process that makes an action end it at its next report; return False if the action has ended.

    One that was interrupted ends at once. If several people cancel it, the first counts.

    Args:
        connection: in a transaction.
        ref: number of the action.
        cancelled_by: name of a person.
        now: the time.
    """
    sentence = f"{_CANCELLED_BY}{bounded(cancelled_by)}: deliveries that it had not reached are unchanged."
    connection.execute(_update([ref], error=sentence).where(_GOING_ON, actions.c.error.is_(None)))
    goes_on = select(actions.c.ref).where(actions.c.ref == ref, _GOING_ON)
    if connection.execute(goes_on).one_or_none() is None:
        return False
    connection.execute(_update([ref], ended_at=now).where(_GOING_ON, actions.c.seen_at < now - ALIVE))
    return True


def recent(connection: Connection, before: int | None, limit: int) -> Sequence[Row[Any]]:
    """Return rows of actions, newest first.

    Args:
        connection: to read with.
        before: only actions with a lower number.
        limit: maximum number.
    """
    query = select(actions).order_by(actions.c.ref.desc()).limit(limit)
    return connection.execute(query if before is None else query.where(actions.c.ref < before)).all()


def action_of(connection: Connection, ref: int) -> Row[Any] | None:
    """Return the row of an action, or None."""
    return connection.execute(select(actions).where(actions.c.ref == ref)).one_or_none()


def state(row: Row[Any], now: datetime) -> str:
    """Return the state of an action: ``running``, ``done``, ``failed``, ``cancelled`` or ``interrupted``."""
    if row.ended_at is not None:
        if row.error is None:
            return DONE
        return CANCELLED if row.error.startswith(_CANCELLED_BY) else FAILED
    return RUNNING if now - row.seen_at <= ALIVE else INTERRUPTED


def forget_actions(database: Database, horizon: datetime) -> int:
    """Delete the rows of actions begun before ``horizon``, and all but the newest ``MOST``; return their number.

    Raises:
        StoreError: the database cannot be used; rows deleted before stay deleted.
    """
    with database.read() as connection:
        newest = select(actions.c.ref).order_by(actions.c.ref.desc()).offset(MOST).limit(1)
        last = connection.execute(newest).scalar_one_or_none()
    return delete_in_batches(database, actions, (actions.c.started_at < horizon) | (actions.c.ref <= (last or 0)))


def _insert(connection: Connection, kind: str, made_by: str, wanted: str, **values: Any) -> int:
    row = {"kind": kind, "made_by": bounded(made_by), "filter": wanted, "skipped": 0, **values}
    ref: int = connection.execute(insert(actions).values(row).returning(actions.c.ref)).scalar_one()
    return ref


def _update(refs: Collection[int], **values: Any) -> Update:
    return update(actions).where(actions.c.ref.in_(refs)).values(values)
