"""Rows of runs: those that the events of a transaction may change, read together and written together."""

# ruff: noqa: S608 (only names of ours are put into statements)

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, update

from extension_kit.protocol import BulkStatement, IsAnyOf, PreparedStatement, driver_time, from_driver_time

from .bulk_writes import bulk_add, bulk_update
from .known_runs import KnownRun, KnownRuns, Loss
from .runs import SKEW, Mark, Run
from .tables import runs

_MOST = 500
"""Runs of a job that are read at most for each of the reasons to read them: more than a group of events changes."""


class Concerned(NamedTuple):
    """A job with runs that an event may change.

    Attributes:
        job_ref: the ref of the job.
        at: the time of a submission or an end; None for an event that only needs the newest run.
        due_at: the scheduled begin of its run, if it is known.
    """

    job_ref: int
    at: datetime | None = None
    due_at: datetime | None = None


def read_runs(connection: Connection, concerned: Iterable[Concerned]) -> KnownRuns:
    """Read the runs that events may change, and the newest of each of their jobs.

    Args:
        connection: of a transaction that has locked the jobs.
        concerned: the jobs of the events.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    due: dict[tuple[int, datetime | None], None] = {}
    near: dict[int, datetime] = {}
    for job_ref, at, due_at in concerned:
        if at is None or due_at is not None:
            due[job_ref, due_at] = None
        else:
            near[job_ref] = min(at, near.get(job_ref, at))
    given: list[tuple[Any, ...]] = [(ref, at and driver_time(at, is_sqlite=is_sqlite), None) for ref, at in due]
    given += [(ref, None, driver_time(at - 2 * SKEW, is_sqlite=is_sqlite)) for ref, at in near.items()]
    by_ref = {row[0]: row for row in _READ.execute(connection, given)} if given else {}
    return KnownRuns(_known(*by_ref[ref]) for ref in sorted(by_ref))


def _known(
    ref: int,
    job_ref: int,
    due_at: Any,
    started_at: Any,
    ended_at: Any,
    ended_log: int | None,
    outcome: str | None,
    lost_from: Any,
    lost_at: Any,
) -> KnownRun:
    start, end = _time(started_at), _time(ended_at)
    run = Run(Mark(start, None, None) if start else None, Mark(end, outcome, ended_log) if end else None)
    return KnownRun(ref, job_ref, _time(due_at), run, Loss(_time(lost_from), _time(lost_at)))


def _time(found: Any) -> datetime | None:
    return None if found is None else from_driver_time(found)


def write_runs(connection: Connection, known: KnownRuns) -> None:
    """Write the runs that have changed."""
    is_sqlite = connection.dialect.name == "sqlite"
    added, ended, changed = [], [], []
    for each in known.changed:
        values = _values(each, is_sqlite=is_sqlite)
        if each.ref is None:
            added.append((each.job_ref, *values))
        elif each.has_only_ended:
            ended.append((each.ref, *values[: len(_END)]))
        else:
            changed.append((each.ref, *values))
    if added:
        _ADD.execute(connection, added)
    if ended:
        _UPDATE_END.execute(connection, ended)
    if changed:
        _UPDATE.execute(connection, changed)
    if known.removed:
        _REMOVE.rowcount(connection, refs=known.removed)


def _values(known: KnownRun, *, is_sqlite: bool) -> tuple[Any, ...]:
    end = known.run.end

    def encoded(time: datetime | None) -> str | datetime | None:
        return None if time is None else driver_time(time, is_sqlite=is_sqlite)

    return (
        encoded(end.at) if end else None,
        end.log if end else None,
        end.outcome if end else None,
        encoded(known.until),
        encoded(known.due_at),
        encoded(known.started_at),
        encoded(known.loss.since),
        encoded(known.loss.reported_at),
        encoded(min(known.times)),
    )


def record_lost(connection: Connection, run_ref: int, at: datetime) -> bool:
    """Record that a run is lost; return False if it has ended meanwhile, or was recorded as lost before."""
    return bool(connection.execute(_LOSE, {"lost_ref": run_ref, "at": at}).rowcount)


_LOSE = (
    update(runs)
    .where(runs.c.ref == bindparam("lost_ref"), runs.c.ended_at.is_(None), runs.c.lost_at.is_(None))
    .values(lost_at=bindparam("at"))
)

_END = {"ended_at": "timestamptz", "ended_log": "bigint", "outcome": "text", "until": "timestamptz"}
_TYPES = {
    **_END,
    "due_at": "timestamptz",
    "started_at": "timestamptz",
    "lost_from": "timestamptz",
    "lost_at": "timestamptz",
    "begun_at": "timestamptz",
}
_FOUND = ", ".join(
    f"found.{name}"
    for name in ("ref", "job_ref", "due_at", "started_at", "ended_at", "ended_log", "outcome", "lost_from", "lost_at")
)


def _chosen(columns: str, condition: str, order: str, limit: int) -> str:
    return (
        f"SELECT {columns} FROM {runs.name} AS one WHERE one.job_ref = given.job_ref AND {condition}"
        f" ORDER BY {order} LIMIT {limit}"
    )


# What is read of a job: its newest run; the runs of a scheduled begin that lack a submission or an end; the runs
# without a scheduled begin near a time.
_REASONS = (
    ("one.started_at IS NOT NULL", "one.started_at DESC, one.ref DESC", 1),
    ("one.due_at = given.due_at AND (one.started_at IS NULL OR one.ended_at IS NULL)", "one.ref", _MOST),
    ("one.due_at IS NULL AND one.until >= given.since", "one.until DESC, one.ref DESC", _MOST),
)
_READ = BulkStatement(
    f"SELECT {_FOUND} FROM {{given}} CROSS JOIN {runs.name} AS found WHERE "
    + " OR ".join(f"found.ref IN ({_chosen('one.ref', *reason)})" for reason in _REASONS),
    {"job_ref": "bigint", "due_at": "timestamptz", "since": "timestamptz"},
    postgresql=f"SELECT {_FOUND} FROM {{given}} CROSS JOIN LATERAL ("
    + " UNION ALL ".join(f"({_chosen('one.*', *reason)})" for reason in _REASONS)
    + ") AS found",
)
_ADD = bulk_add(runs.name, {"job_ref": "bigint", **_TYPES})
_UPDATE, _UPDATE_END = bulk_update(runs.name, _TYPES), bulk_update(runs.name, _END)
_REMOVE = PreparedStatement(delete(runs).where(IsAnyOf(runs.c.ref, "refs")))
