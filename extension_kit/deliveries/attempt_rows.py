"""What is written down of attempts, and what becomes of their deliveries by it: rows, and no decisions."""

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
    """A delivery that waits, with what is delivered."""

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
    """Shorten what was said, and replace what a database does not store: NUL characters, halves of characters."""
    return replace(outcome, error=_storable(outcome.error), excerpt=_storable(outcome.excerpt))


def load(connection: Connection, ref: int) -> Waiting | None:
    """Return a delivery that waits, with what is delivered."""
    row = _LOAD.first(connection, of=ref)
    found = Waiting(*row) if row else None
    return found if found and found.status == WAITING else None


def begin(connection: Connection, ref: int, number: int, now: datetime) -> None:
    """Begin an attempt: it counts even if nobody lives to write down its end."""
    _BEGIN.rowcount(connection, of=ref, nth=number, now=now)
    _ADD.rowcount(connection, of=ref, nth=number, now=now)


def write_off(connection: Connection, ref: int, now: datetime) -> bool:
    """Write off the attempt that was under way when the process that made it died; False where there was none."""
    lost = {"ended_at": now, "result": "lost", "error": "the process that made it died"}
    open_ = (attempts.c.delivery_ref == ref, attempts.c.ended_at.is_(None))
    return connection.execute(update(attempts).where(*open_).values(lost)).rowcount > 0


def losses(connection: Connection, ref: int) -> int:
    """Say how many attempts in a row, up to the last, were lost."""
    results = select(attempts.c.result).where(attempts.c.delivery_ref == ref).order_by(attempts.c.number.desc())
    return sum(1 for _ in takewhile(lambda result: result == "lost", connection.execute(results).scalars()))


def latest(connection: Connection, number: int) -> list[tuple[str, float, bool]]:
    """Return the listeners of the latest attempts, oldest first, their seconds, and whether their deliveries ended."""
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
    """Write down that others have to make an attempt anew, for no fault of its own, so that it does not count."""
    if _DISCOUNT.rowcount(connection, of=ref, nth=number) == 1:
        _END.rowcount(connection, of=ref, nth=number, ended_at=now, **_HANDED_BACK)


def finish(connection: Connection, ref: int, number: int, status: str, now: datetime, error: str | None) -> bool:
    """End a delivery, unless a later attempt than this one has begun."""
    return _FINISH.rowcount(connection, of=ref, nth=number, status=status, ended_at=now, error=error) == 1


def postpone(connection: Connection, ref: int, number: int, due_at: datetime, error: str | None) -> bool:
    """Have the next attempt made later, unless it has begun."""
    return _POSTPONE.rowcount(connection, of=ref, nth=number, due_at=due_at, error=error) == 1


def put_off(connection: Connection, ref: int, now: datetime, seconds: float) -> datetime:
    """Have an attempt made later that was about to begin, and say when."""
    due_at = now + timedelta(seconds=seconds)
    changes = {"due_at": due_at, "begun_at": func.coalesce(deliveries.c.begun_at, now)}
    connection.execute(update(deliveries).where(deliveries.c.ref == ref).values(changes))
    return due_at


def _storable(text: str | None) -> str | None:
    return text and text[:_MAX_TEXT].replace("\x00", "\ufffd").encode(errors="replace").decode()
