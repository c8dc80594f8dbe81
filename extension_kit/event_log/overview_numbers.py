"""Overview numbers: rates of attempts, waiting deliveries by listener, dead letters by listener and error.

Each is counted in a bounded time, and says if it is complete.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Integer, cast, extract, func, literal, select

from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.tables import DEAD, DELIVERED, WAITING, attempts, deliveries
from extension_kit.event_log.candidates import BY_LISTENER, BY_NUMBER, Candidates, status_candidates, values_of
from extension_kit.event_log.newest import look_at_portions
from extension_kit.event_log.spans import Span, span_of
from extension_kit.observability.redaction import redact_text

_MOST_ATTEMPTS = 50_000
_FAILURES = "failed", "refused", "lost"
_COUNTED = 10_000  # waiting deliveries of all listeners, which may all be in other places of the table
_MOST_COUNTED, _LEAST_COUNTED = 10_000, 100  # of each
_ERROR_CHARACTERS, _RECOGNISED_CHARACTERS = 200, 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Rate(NamedTuple):
    """Attempts that ended within an interval.

    Attributes:
        begin: of the interval.
        delivered: number of those that succeeded.
        failed: number of those that did not; attempts that were handed back or not ready do not count.
        is_complete: False: there may have been more.
    """

    begin: datetime
    delivered: int
    failed: int
    is_complete: bool


class Waiting(NamedTuple):
    """Waiting deliveries of a listener.

    Attributes:
        listener: key.
        number: of the deliveries.
        since: time at which the oldest of them was created.
        is_exact: False: there are as many at least, and older ones may wait.
    """

    listener: str
    number: int
    since: datetime
    is_exact: bool


class DeadLetters(NamedTuple):
    """Dead letters of a listener with the same error.

    Attributes:
        listener: key.
        error: first line of the error without recognised secrets, cut; empty without one.
        contains: its beginning up to the first secret, to filter by; empty without one.
        number: of the dead letters.
        newest: time at which the last of them was given up.
        is_exact: False: only the newest dead letters of all were looked at.
    """

    listener: str
    error: str
    contains: str
    number: int
    newest: datetime
    is_exact: bool


def rates(connection: Connection, since: datetime, now: datetime, bars: int = 60) -> list[Rate]:
    """Return the numbers of attempts by the time of their end, among the newest 50,000 at most.

    Args:
        connection: to read with.
        since: beginning of the first interval.
        now: end of the last one.
        bars: number of intervals.
    """
    length = (now - since) / bars
    numbers: Counter[tuple[int, bool]] = Counter()
    place = _place(connection, since, length).label("place")
    succeeded = (attempts.c.result == DELIVERED).label("succeeded")
    known = attempts.c.result.in_([DELIVERED, *_FAILURES]), attempts.c.ended_at >= since, attempts.c.ended_at < now
    all_attempts = Candidates(attempts.c.ref, hint=BY_NUMBER)
    ended = all_attempts.hinted(select(place, succeeded).where(*known))

    def look(part: Span) -> bool:
        some = ended.where(*part.conditions(attempts.c.ref)).subquery()
        found = select(some.c.place, some.c.succeeded, func.count()).group_by(some.c.place, some.c.succeeded)
        for bar, is_delivered, number in connection.execute(found):
            numbers[min(bar, bars - 1), bool(is_delivered)] += number
        return False

    span = span_of(connection, attempts.c.ref, attempts.c.ended_at, since, None)
    rest = look_at_portions(connection, all_attempts, span, look, most=_MOST_ATTEMPTS)
    complete_from = since if rest is None else _time_of_attempt(connection, rest)
    begins = [since + place * length for place in range(bars)]
    return [
        Rate(begin, numbers[bar, True], numbers[bar, False], begin >= complete_from) for bar, begin in enumerate(begins)
    ]


class Range(NamedTuple):
    """Time that rates are for: the length of an interval, and the number of intervals."""

    interval: timedelta
    number: int

    def rates(self, connection: Connection, now: datetime) -> list[Rate]:
        """Return the rates. The last interval goes on, and a poll within it finds the same intervals."""
        end = _EPOCH + ((now - _EPOCH) // self.interval + 1) * self.interval
        return rates(connection, end - self.number * self.interval, end, self.number)


RANGES = {
    "1h": Range(timedelta(minutes=1), 60),
    "24h": Range(timedelta(minutes=30), 48),
    "7d": Range(timedelta(hours=3), 56),
}
"""Times that rates are for, by name."""


def waiting_by_listener(connection: Connection, limit: int = 50) -> list[Waiting]:
    """Return the waiting deliveries of each listener, most first.

    Args:
        connection: to read with.
        limit: maximum number of listeners.
    """
    is_waiting = list(Filter(status=WAITING).conditions())
    waiting = values_of(connection, deliveries.c.listener, limit, having=is_waiting)
    of_listener = Candidates(deliveries.c.ref, hint=BY_LISTENER)
    left, found = _COUNTED, []
    for key in waiting:
        most = max(_LEAST_COUNTED, min(_MOST_COUNTED, left))
        mine = select(deliveries.c.ref).where(deliveries.c.listener == key, *is_waiting).limit(most + 1)
        some = of_listener.hinted(mine).subquery()
        numbers = select(func.count().label("number"), func.min(some.c.ref).label("oldest")).subquery()
        query = select(numbers.c.number, deliveries.c.created_at)
        number, since = connection.execute(query.where(deliveries.c.ref == numbers.c.oldest)).one()
        found.append(Waiting(key, min(number, most), since, number <= most))
        left -= number
    return sorted(found, key=lambda each: (-each.number, each.listener))


def dead_by_listener_and_error(connection: Connection, limit: int = 20) -> list[DeadLetters]:
    """Return the newest dead letters by listener and error, most first.

    Args:
        connection: to read with.
        limit: maximum number of groups.
    """
    groups: dict[tuple[str, str], tuple[int, datetime, str]] = {}
    dead = status_candidates(DEAD)
    start = func.substr(deliveries.c.error, 1, _ERROR_CHARACTERS).label("start")
    # A secret that is cut in two might not be recognised.
    longer = func.substr(deliveries.c.error, 1, _RECOGNISED_CHARACTERS).label("longer")
    columns = deliveries.c.listener, start, longer, deliveries.c.ended_at
    all_dead = dead.hinted(select(*columns).where(*dead.conditions))

    def look(part: Span) -> bool:
        some = all_dead.where(*part.conditions(deliveries.c.ref)).subquery()
        last = func.max(some.c.ended_at, type_=some.c.ended_at.type)
        found = select(some.c.listener, some.c.start, func.count(), last, func.min(some.c.longer))
        for listener, text, number, newest, whole in connection.execute(found.group_by(some.c.listener, some.c.start)):
            key = listener, _first_line(text)
            known = groups.get(key, (0, newest, whole))
            groups[key] = known[0] + number, max(known[1], newest), known[2]
        return False

    is_exact = look_at_portions(connection, dead, Span(), look) is None
    most = sorted(groups.items(), key=lambda each: (-each[1][0], each[0]))[:limit]
    found = []
    for (listener, _), (number, newest, whole) in most:
        error = redact_text(_first_line(whole))[:_ERROR_CHARACTERS]
        found.append(DeadLetters(listener, error, error.partition("***")[0], number, newest, is_exact))
    return found


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0].strip()


def _place(connection: Connection, since: datetime, length: timedelta) -> ColumnElement[int]:
    """Return the number of the interval in which an attempt ended, from 0."""
    ended = attempts.c.ended_at
    if connection.dialect.name == "sqlite":
        days = func.julianday(ended) - func.julianday(literal(since, ended.type))
        milliseconds = func.round(days * 86_400_000.0)  # a day's fraction is not exact
        return cast(milliseconds / (length / timedelta(milliseconds=1)), Integer)
    seconds = extract("epoch", ended - literal(since, ended.type))
    return cast(func.floor(seconds / length.total_seconds()), Integer)


def _time_of_attempt(connection: Connection, ref: int) -> datetime:
    """Return the end of the first attempt from a number on."""
    first = select(attempts.c.ended_at).where(attempts.c.ref >= ref).order_by(attempts.c.ref).limit(1)
    time: datetime = connection.execute(first).scalar_one()
    return time
