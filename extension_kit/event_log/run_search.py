"""Run search: finds the runs of experiments by their events, and the events of one run, in a bounded time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, case, func, or_, select

from extension_kit.deliveries.tables import bounded, deliveries, events, series
from extension_kit.event_log.candidates import BY_NUMBER, Candidates
from extension_kit.event_log.newest import look_at_portions
from extension_kit.event_log.paging import RUNS, Found, cursor, number_of
from extension_kit.event_log.run_places import last_place, span_of_run
from extension_kit.event_log.spans import Span
from extension_kit.events.event import STEADYBIT

_SECONDS = 0.035  # to find runs, and again for their numbers
_MOST_BYTES = 8 * 1024**2  # of the bodies of a run, which are read again by each poll
_NAME = "experiment.execution."
_BEGINNINGS = "requested", "created"
_WORDS = *_BEGINNINGS, "failed", "errored", "canceled", "completed"
_REF_OF_WHOLE = case((events.c.name.in_([f"{_NAME}{word}" for word in _WORDS]), events.c.ref))
_MOST_DELIVERIES = 20_000  # of a portion of events
_OF_RUNS = events.c.source == STEADYBIT, events.c.subject.is_not(None)
_ALL_EVENTS = Candidates(events.c.ref, hint=BY_NUMBER)


@dataclass
class Run:
    """One run of an experiment, as its events tell it.

    Attributes:
        subject: ``<experiment key>/<execution id>``.
        last_ref: number of its last event.
        last_at: time at which that was received.
        events: number of its events.
        counted: number of the events that were looked at for the following attributes, the newest ones.
        first_at: time at which the first of these was received.
        state: ``requested``, ``created``, ``running``, ``failed``, ``errored``, ``canceled``, ``completed``; None:
            unknown.
        waiting: number of waiting deliveries of these events; ``delivered``, ``dead`` and ``discarded`` likewise.
    """

    subject: str
    last_ref: int
    last_at: datetime
    events: int
    counted: int = 0
    first_at: datetime | None = None
    state: str | None = None
    waiting: int = 0
    delivered: int = 0
    dead: int = 0
    discarded: int = 0


def find_runs(connection: Connection, before: str | None, limit: int) -> Found[Run]:
    """Return a page of runs, the one with the newest event first.

    Args:
        connection: to read with.
        before: cursor of an earlier page; None: from the newest run on.
        limit: maximum number of runs.

    Raises:
        BadFilter: the cursor is none of this list.
    """
    runs: dict[str, Run] = {}

    def look(part: Span) -> bool:
        for subject, ref, at, place in connection.execute(_last_events(part).limit(limit + 1)):
            runs.setdefault(subject, Run(subject, ref, at, place or 0))
        return len(runs) > limit

    span = Span(below=number_of(RUNS, before))
    rest = look_at_portions(connection, _ALL_EVENTS, span, look, seconds=_SECONDS)
    page = list(runs.values())[:limit]
    _look_closer(connection, page)
    if len(runs) > limit:
        return Found(page, cursor(RUNS, page[-1].last_ref), None)
    if rest is None:
        return Found(page, None, None)
    searched_to = select(events.c.received_at).where(events.c.ref >= rest).order_by(events.c.ref).limit(1)
    return Found(page, cursor(RUNS, rest), connection.execute(searched_to).scalar())


def run_events(connection: Connection, subject: str, limit: int = 2000) -> Sequence[Row[Any]]:
    """Return the newest events of a run, oldest first, with all columns, and the bytes of the body as ``size``.

    Bodies of more than 8 MiB together are left out, those of the oldest events first: they are None.

    Args:
        connection: to read with.
        subject: of the run's events.
        limit: maximum number.
    """
    last = last_place(connection, subject)
    span = span_of_run(connection, subject, events.c.ref, events.c.received_at)
    mine = select(events.c.ref, func.length(events.c.body)).where(events.c.source == STEADYBIT)
    mine = mine.where(events.c.subject == bounded(subject)).order_by(events.c.ref.desc())
    sizes: list[tuple[int, int]] = []

    def look(part: Span) -> bool:
        found = _ALL_EVENTS.hinted(mine.where(*part.conditions(events.c.ref))).limit(limit - len(sizes))
        sizes.extend((ref, size) for ref, size in connection.execute(found))
        return len(sizes) >= (limit if last is None else min(limit, last.place))

    look_at_portions(connection, _ALL_EVENTS, span, look)
    totals = accumulate(size for _, size in sizes)
    shown = [ref for (ref, _), total in zip(sizes, totals, strict=True) if total <= _MOST_BYTES]
    columns: list[ColumnElement[Any]] = [column for column in events.c if column is not events.c.body]
    body = case((events.c.ref.in_(shown), events.c.body)).label("body")
    query: Select[Any] = select(*columns, body, func.length(events.c.body).label("size"))
    return connection.execute(query.where(events.c.ref.in_([ref for ref, _ in sizes])).order_by(events.c.ref)).all()


def _last_events(part: Span) -> Select[Any]:
    """Select the last event of each run, if it is among those with some numbers, newest first.

    An event is the last one if its place in its series is the number of the series' events.
    """
    subject, ref = events.c.subject, events.c.ref
    newest = select(subject, func.max(ref).label("ref")).where(*_OF_RUNS, *part.conditions(ref)).group_by(subject)
    those = _ALL_EVENTS.hinted(newest).subquery()
    of_event = deliveries.c.event_ref == those.c.ref
    place = select(deliveries.c.place).where(of_event).limit(1).scalar_subquery().label("place")
    total = select(series.c.last_count).join(deliveries, deliveries.c.series == series.c.key).where(of_event)
    placed = select(those, place, total.limit(1).scalar_subquery().label("total")).subquery()
    is_last = or_(placed.c.place.is_(None), placed.c.total.is_(None), placed.c.place >= placed.c.total)
    found = select(placed.c.subject, placed.c.ref, events.c.received_at, placed.c.place).where(is_last)
    # Of both sides the numbers are known: PostgreSQL would merge those of the run with all that the table has.
    found = found.join(events, ref == placed.c.ref).where(*part.conditions(ref))
    return found.order_by(placed.c.ref.desc())


def _look_closer(connection: Connection, runs: Sequence[Run]) -> None:
    """Look at the events of runs, from the newest on, and complete what is told of them."""
    if not runs:
        return
    of_subject = {run.subject: run for run in runs}
    first: dict[str, int] = {}
    whole: dict[str, int] = {}
    mine = *_OF_RUNS, events.c.subject.in_(of_subject)

    def look(part: Span) -> bool:
        within = *mine, *part.conditions(events.c.ref)
        found = select(events.c.subject, func.count(), func.min(events.c.ref), func.max(_REF_OF_WHOLE)).where(*within)
        for subject, number, lowest, of_whole in connection.execute(
            _ALL_EVENTS.hinted(found.group_by(events.c.subject))
        ):
            of_subject[subject].counted += number
            first[subject] = lowest
            if of_whole is not None:
                whole.setdefault(subject, of_whole)
        pairs = select(events.c.subject, deliveries.c.status).join_from(events, deliveries).where(*within)
        some = _ALL_EVENTS.hinted(pairs).limit(_MOST_DELIVERIES).subquery()
        numbers = select(some.c.subject, some.c.status, func.count()).group_by(some.c.subject, some.c.status)
        for subject, status, number in connection.execute(numbers):
            run = of_subject[subject]
            setattr(run, status, getattr(run, status) + number)
        return all(run.counted >= run.events for run in runs)

    look_at_portions(connection, _ALL_EVENTS, Span(below=runs[0].last_ref + 1), look, seconds=_SECONDS)
    known = select(events.c.ref, events.c.name, events.c.received_at)
    known = known.where(events.c.ref.in_({*first.values(), *whole.values()}))
    of_ref = {ref: (name, at) for ref, name, at in connection.execute(known)}
    for run in runs:
        run.events = max(run.events, run.counted)
        if run.subject in first:
            run.first_at = of_ref[first[run.subject]][1]
        if run.subject in whole:
            word = of_ref[whole[run.subject]][0].removeprefix(_NAME)
            is_running = word in _BEGINNINGS and whole[run.subject] < run.last_ref
            run.state = "running" if is_running else word
