"""Attempt rows: reads and writes the rows of attempts and of their deliveries, without any decisions."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, update

from extension_kit.deliveries.tables import WAITING, attempts, deliveries, events
from extension_kit.senders import Outcome
from extension_kit.store.prepared import Statement

_MAX_TEXT = 2000


class Waiting(NamedTuple):
    """A waiting delivery, with its event."""

    listener: str
    status: str
    attempts: int
    earlier: int
    error: str | None
    created_at: datetime
    begun_at: datetime | None
    name: str
    event_id: str
    body: bytes
    source: str
    time: datetime | None
    subject: str | None
    series: str | None
    place: int | None
    ref: int


_OF_EVENT = {"name", "event_id", "body", "source", "time", "subject"}
_COLUMNS = {name: (events if name in _OF_EVENT else deliveries).c for name in Waiting._fields}

_LOAD = Statement(
    select(*(columns["count" if name == "place" else name] for name, columns in _COLUMNS.items()))
    .select_from(deliveries.join(events))
    .where(deliveries.c.ref == bindparam("of"))
)
_BEGIN = Statement(
    update(deliveries)
    .where(deliveries.c.ref == bindparam("of"))
    .values(
        attempts=bindparam("nth"),
        begun_at=func.coalesce(deliveries.c.begun_at, bindparam("now", type_=deliveries.c.begun_at.type)),
    )
)
_ADD = Statement(
    insert(attempts).inline().values(delivery_ref=bindparam("of"), number=bindparam("nth"), started_at=bindparam("now"))
)
_END = Statement(
    update(attempts)
    .where(attempts.c.delivery_ref == bindparam("of"), attempts.c.number == bindparam("nth"))
    .values({name: bindparam(name) for name in ("ended_at", "result", "error", "status", "excerpt")})
)
_UNCHANGED = update(deliveries).where(
    deliveries.c.ref == bindparam("of"), deliveries.c.attempts == bindparam("nth"), deliveries.c.status == WAITING
)
_FINISH = Statement(_UNCHANGED.values({name: bindparam(name) for name in ("status", "ended_at", "error")}))
_POSTPONE = Statement(_UNCHANGED.values({name: bindparam(name) for name in ("due_at", "error")}))
_DISCOUNT = Statement(_UNCHANGED.values(earlier=deliveries.c.earlier + 1))
_HANDED_BACK = {
    "result": "handed back",
    "error": "the process that made it was stopped",
    "status": None,
    "excerpt": None,
}


def storable(outcome: Outcome) -> Outcome:
    """Shorten an outcome's texts, and replace characters a database does not store: NUL, single surrogates."""
    return replace(outcome, error=_storable(outcome.error), excerpt=_storable(outcome.excerpt))


def load(connection: Connection, ref: int) -> Waiting | None:
    """Return a waiting delivery with its event; None if it has ended."""
    row = _LOAD.first(connection, of=ref)
    found = Waiting(*row) if row else None
    return found if found and found.status == WAITING else None


def begin(connection: Connection, ref: int, number: int, now: datetime) -> None:
    """Begin an attempt. It counts from here on, even if its process dies."""
    _BEGIN.rowcount(connection, of=ref, nth=number, now=now)
    _ADD.rowcount(connection, of=ref, nth=number, now=now)


def write_off(connection: Connection, ref: int, now: datetime) -> bool:
    """Mark the open attempt of a delivery as lost, because its process died; False if none was open."""
    lost = {"ended_at": now, "result": "lost", "error": "the process that made it died"}
    open_ = (attempts.c.delivery_ref == ref, attempts.c.ended_at.is_(None))
    return connection.execute(update(attempts).where(*open_).values(lost)).rowcount > 0


def losses(connection: Connection, ref: int) -> int:
    """Return how many attempts in a row, up to the last, were lost."""
    results = select(attempts.c.result).where(attempts.c.delivery_ref == ref).order_by(attempts.c.number.desc())
    return sum(1 for _ in takewhile(lambda result: result == "lost", connection.execute(results).scalars()))


def latest(connection: Connection, number: int) -> list[tuple[str, float, bool]]:
    """Return the latest attempts, oldest first: listener, duration in seconds, True if its delivery ended."""
    last = select(attempts).order_by(attempts.c.ref.desc()).limit(number).subquery()
    query = select(deliveries.c.listener, last.c.started_at, last.c.ended_at, last.c.result)
    rows = connection.execute(query.join(deliveries, deliveries.c.ref == last.c.delivery_ref).order_by(last.c.ref))
    return [
        (listener, (ended_at - started_at).total_seconds(), result in ("delivered", "refused"))
        for listener, started_at, ended_at, result in rows
        if ended_at is not None
    ]


def end(connection: Connection, ref: int, number: int, outcome: Outcome, now: datetime) -> None:
    """Write down how an attempt ended."""
    said = {"error": outcome.error, "status": outcome.status, "excerpt": outcome.excerpt}
    _END.rowcount(connection, of=ref, nth=number, ended_at=now, result=outcome.result, **said)


def hand_back(connection: Connection, ref: int, number: int, now: datetime) -> None:
    """Record that an attempt was handed back: another worker makes it anew, and it does not count."""
    if _DISCOUNT.rowcount(connection, of=ref, nth=number) == 1:
        _END.rowcount(connection, of=ref, nth=number, ended_at=now, **_HANDED_BACK)


def finish(connection: Connection, ref: int, number: int, status: str, now: datetime, error: str | None) -> bool:
    """End a delivery; False if a later attempt has begun."""
    return _FINISH.rowcount(connection, of=ref, nth=number, status=status, ended_at=now, error=error) == 1


def postpone(connection: Connection, ref: int, number: int, due_at: datetime, error: str | None) -> bool:
    """Set the time of the next attempt; False if that has begun."""
    return _POSTPONE.rowcount(connection, of=ref, nth=number, due_at=due_at, error=error) == 1


def put_off(connection: Connection, ref: int, now: datetime, seconds: float) -> datetime:
    """Postpone an attempt that was about to begin, and return its new time."""
    due_at = now + timedelta(seconds=seconds)
    changes = {"due_at": due_at, "begun_at": func.coalesce(deliveries.c.begun_at, now)}
    connection.execute(update(deliveries).where(deliveries.c.ref == ref).values(changes))
    return due_at


def _storable(text: str | None) -> str | None:
    return text and text[:_MAX_TEXT].replace("\x00", "\ufffd").encode(errors="replace").decode()
