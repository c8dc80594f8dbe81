"""How long the lists of the event log take beside 1,000,000 events, whatever the filter: server time, and the plans."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any

from sqlalchemy import Connection, event

from benchmarks.event_log_data import DAYS, LISTENER, RARE_ERROR, RARE_LISTENER, RARE_SOURCE, EventLog, fill
from benchmarks.report import Report, Settings
from benchmarks.stores import WITHOUT_POSTGRESQL, Store, stores
from extension_kit.deliveries.queries import Filter
from extension_kit.event_log.delivery_search import count_deliveries, find_deliveries
from extension_kit.event_log.event_search import count_events, find_events
from extension_kit.event_log.filters import EventFilter
from extension_kit.event_log.overview_numbers import dead_by_listener_and_error, rates, waiting_by_listener
from extension_kit.event_log.paging import DELIVERIES, EVENTS, RUNS, cursor
from extension_kit.event_log.run_search import find_runs, run_events
from extension_kit.store.database import Database

_GOAL = 100.0  # milliseconds
_LIMIT = 50
_DEEP = 1000  # page
_NOTHING = "nothing has this"

Query = Callable[[Connection], Any]


@dataclass(frozen=True)
class _Case:
    """What is measured: a name, and the query that is timed."""

    name: str
    query: Query


def run(settings: Settings) -> list[Report]:
    """Measure all lists on each store."""
    number, rounds = (22_000, 2) if settings.quick else (1_000_000, 7)
    reports = []
    with stores() as found:
        with settings.progress("event log", 2 * len(found)) as begin:
            for store in found:
                reports += _measure(store, settings, number, rounds, begin)
        if len(found) < 2:
            last = reports[-1]
            reports[-1] = Report(last.title, last.columns, last.rows, [*last.notes, WITHOUT_POSTGRESQL], last.samples)
    return reports


def _measure(
    store: Store, settings: Settings, number: int, rounds: int, begin: Callable[[str], None]
) -> Iterator[Report]:
    with store.database() as url:
        database = Database(url)
        begin(f"{store.name}, {number:,} events are made")
        log = fill(database, number)
        begin(f"{store.name}, lists")
        cases = _cases(log)
        samples: dict[str, list[float]] = {case.name: [] for case in cases}
        results = {}
        for _ in range(rounds):
            for case in cases:
                with database.read() as connection:
                    began = time.perf_counter()
                    results[case.name] = case.query(connection)
                    samples[case.name].append((time.perf_counter() - began) * 1000)
        plans = [line for case in cases for line in _plan(database, case)] if settings.plans else []
        database.dispose()
    rows = [
        [name, f"{median(taken):.1f}", f"{max(taken):.1f}", _told(results[name]), f"<= {_GOAL:g} ms"]
        for name, taken in samples.items()
    ]
    yield Report(
        f"{store.name}: {log.events:,} events, {log.deliveries:,} deliveries, pages of {_LIMIT}, {rounds} rounds",
        ["", "ms", "worst", "found", "goal"],
        rows,
        plans,
        [{"store": store.name, "case": name, "ms": taken} for name, taken in samples.items()],
    )


def _cases(log: EventLog) -> list[_Case]:
    old, later = log.time(0.05), log.time(0.1)
    filters = {
        "all": Filter(),
        **{status: Filter(status=status) for status in ("waiting", "delivered", "dead", "discarded")},
        "a listener": Filter(listener=LISTENER),
        "a listener, dead": Filter(listener=LISTENER, status="dead"),
        "a rare listener": Filter(listener=RARE_LISTENER),
        "all subscriptions, dead": Filter(listener="subscription:", status="dead"),
        "no listener": Filter(listener=_NOTHING),
        "an event name": Filter(event_name="experiment.execution.completed"),
        "no event name": Filter(event_name=_NOTHING),
        "dead, no event name": Filter(event_name=_NOTHING, status="dead"),
        "a pattern of all": Filter(event_pattern="*.*"),
        "a pattern of none": Filter(event_pattern="*.none.*"),
        "an event id": Filter(event_id="event-77"),
        "no event id": Filter(event_id=_NOTHING),
        "a rare source": Filter(source=RARE_SOURCE),
        "the usual source": Filter(source="steadybit"),
        "dead, another source": Filter(source="croneye", status="dead"),
        "an old run": Filter(subject=log.subject(0.05)),
        "no subject": Filter(subject=_NOTHING),
        "dead, a rare error": Filter(status="dead", error=RARE_ERROR),
        "dead, no error": Filter(status="dead", error=_NOTHING),
        "any, no error": Filter(error=_NOTHING),
        "an old day": Filter(after=old, before=later),
        "an old day, dead": Filter(after=old, before=later, status="dead"),
        "all but the newest, no name": Filter(before=log.time(0.98), event_name=_NOTHING),
    }
    of_events = {
        "all": EventFilter(),
        "an event name": EventFilter(event_name="experiment.execution.completed"),
        "no event name": EventFilter(event_name=_NOTHING),
        "a pattern of none": EventFilter(event_pattern="*.none.*"),
        "an event id": EventFilter(event_id="event-77"),
        "a rare source": EventFilter(source=RARE_SOURCE),
        "another source": EventFilter(source="croneye"),
        "an old run": EventFilter(subject=log.subject(0.05)),
        "no subject": EventFilter(subject=_NOTHING),
        "an old day": EventFilter(after=old, before=later),
    }
    deep = _LIMIT * (_DEEP - 1)
    deep_delivery = max(log.deliveries - deep, log.deliveries // 2)
    deep_event = cursor(EVENTS, max(log.events - deep, log.events // 2))
    now = log.time(1)
    return [
        *(case for name, wanted in filters.items() for case in _of_deliveries(name, wanted)),
        *(
            _Case(f"deliveries, {name}, page {_DEEP:,}", _page_of_deliveries(filters[name], deep_delivery))
            for name in ("all", "delivered", "a listener", "an event name")
        ),
        *(case for name, wanted in of_events.items() for case in _of_events(name, wanted)),
        _Case(
            f"events, all, page {_DEEP:,}",
            lambda it: find_events(it, EventFilter(), deep_event, _LIMIT),
        ),
        _Case("runs", lambda it: find_runs(it, None, _LIMIT)),
        _Case("runs, an old page", lambda it: find_runs(it, cursor(RUNS, log.events // 20), _LIMIT)),
        _Case("an old run", lambda it: run_events(it, log.subject(0.05))),
        _Case("no run", lambda it: run_events(it, "ADM-1/none")),
        _Case("rates of an hour", lambda it: rates(it, now - timedelta(hours=1), now)),
        _Case(f"rates of {DAYS} days", lambda it: rates(it, now - timedelta(days=DAYS), now)),
        _Case("what waits", waiting_by_listener),
        _Case("dead letters by error", dead_by_listener_and_error),
    ]


def _of_deliveries(name: str, wanted: Filter) -> Sequence[_Case]:
    return (
        _Case(f"deliveries, {name}", _page_of_deliveries(wanted, None)),
        _Case(f"deliveries, {name}, count", lambda it: count_deliveries(it, wanted)),
    )


def _page_of_deliveries(wanted: Filter, below: int | None) -> Query:
    before = None if below is None else cursor(DELIVERIES, below)
    return lambda it: find_deliveries(it, wanted, before, _LIMIT)


def _of_events(name: str, wanted: EventFilter) -> Sequence[_Case]:
    return (
        _Case(f"events, {name}", lambda it: find_events(it, wanted, None, _LIMIT)),
        _Case(f"events, {name}, count", lambda it: count_events(it, wanted)),
    )


def _told(result: Any) -> str:
    """Return what was found, in a few characters."""
    if hasattr(result, "searched_to"):
        return f"{len(result.rows)}{', searched in part' if result.searched_to else ''}"
    if hasattr(result, "is_exact"):
        return f"{result.number:,}{'' if result.is_exact else '+'}"
    return f"{len(result):,}"


def _plan(database: Database, case: _Case) -> Iterator[str]:
    """Yield the statements of a query, each once, with their plans."""
    sent: dict[str, Any] = {}

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        sent.setdefault(statement, parameters)

    yield f"== {case.name}"
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN (ANALYZE, BUFFERS)"
    with database.read() as connection:
        event.listen(connection, "before_cursor_execute", note)
        case.query(connection)
        event.remove(connection, "before_cursor_execute", note)
        for statement, parameters in sent.items():
            yield f"-- {' '.join(statement.split())[:300]}"
            found = connection.exec_driver_sql(f"{explain} {statement}", parameters)
            yield from (f"   {row[-1]}" for row in found)
