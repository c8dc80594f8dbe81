"""Runs of jobs: pairs the events that a run was submitted and that it ended.

APScheduler does not name the submission of an end, and sends both in any order. Services that add
``scheduled_run_time``, as this kit's client does, leave no doubt. For others an end belongs to the newest submission
before it without an end, so that a lost end does not spoil the runs after it. Pairs are computed anew for the
neighbourhood of each event, so that the result does not depend on the order in which events arrive.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from .codes import Code
from .tables import FAILED, LATER, MISSED, SUCCEEDED, runs

OUTCOMES = {Code.JOB_EXECUTED: SUCCEEDED, Code.JOB_ERROR: FAILED, Code.JOB_MISSED: MISSED}

SKEW = timedelta(seconds=0.5)
"""A run may seem to end by so much before its submission: APScheduler sends a submission after it is made."""

_MOST = 100
"""Runs of a job that are read for an event. There are more only if a service never sends ends."""


# Made once: they are executed for every event.
_OF_JOB = select(runs).where(runs.c.job_ref == bindparam("job_ref"))
_DUE = _OF_JOB.where(runs.c.due_at == bindparam("due_at")).order_by(runs.c.ref).limit(1)
_DUE_WITHOUT_START = _DUE.where(runs.c.started_at.is_(None))
_DUE_WITHOUT_END = _DUE.where(runs.c.ended_at.is_(None))
_NEAR = (
    _OF_JOB.where(runs.c.due_at.is_(None), runs.c.until >= bindparam("since"))
    .order_by(runs.c.until.desc(), runs.c.ref.desc())
    .limit(bindparam("most"))
)
_NEWEST = (
    select(runs.c.ref, runs.c.started_at, runs.c.ended_at, runs.c.due_at, runs.c.lost_at)
    .where(runs.c.job_ref == bindparam("job_ref"), runs.c.started_at.is_not(None))
    .order_by(runs.c.started_at.desc(), runs.c.ref.desc())
    .limit(1)
)
_INSERT = insert(runs)
_UPDATE = update(runs).where(runs.c.ref == bindparam("changed_ref"))
_UPDATE_LOST = _UPDATE.where(runs.c.ended_at.is_(None), runs.c.lost_at.is_(None)).values(lost_at=bindparam("at"))


class Mark(NamedTuple):
    """The submission of a run or, with an outcome, its end; ``log`` is the log entry of the event."""

    at: datetime
    outcome: str | None
    log: int | None


class Run(NamedTuple):
    """A run, as far as it is known."""

    start: Mark | None
    end: Mark | None

    @property
    def duration(self) -> timedelta | None:
        """The time from submission to end; None if one is missing, or the run was missed."""
        if self.start is None or self.end is None or self.end.outcome == MISSED:
            return None
        return max(self.end.at - self.start.at, timedelta())


def pair(marks: Iterable[Mark]) -> list[Run]:
    """Pair submissions and ends, by their times."""
    paired: list[Run] = []
    open_starts: list[Mark] = []
    lone_ends: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (mark.at, mark.outcome or "", mark.log or 0)):
        if mark.outcome is not None:
            if open_starts:
                paired.append(Run(open_starts.pop(), mark))
            else:
                lone_ends.append(mark)
        elif lone_ends and lone_ends[-1].at >= mark.at - SKEW:
            paired.append(Run(mark, lone_ends.pop()))
        else:
            open_starts.append(mark)
    return [*paired, *(Run(start, None) for start in open_starts), *(Run(None, end) for end in lone_ends)]


class _Loss(NamedTuple):
    """The times from which a run counts as lost, and at which it was reported as lost."""

    since: datetime | None
    reported_at: datetime | None


_NO_LOSS = _Loss(None, None)


def pair_with(
    connection: Connection, job_ref: int, mark: Mark, due_at: datetime | None, lost_from: datetime | None = None
) -> Run:
    """Record the submission or the end of a run, paired with the other of both if that is known.

    Args:
        connection: of a transaction that has locked the job.
        job_ref: the ref of the job.
        mark: the submission or end.
        due_at: the scheduled begin, which identifies the run; None: it is unknown.
        lost_from: the time from which the run counts as lost, if this is its submission; None: it is unknown.

    Returns:
        The run of the mark.
    """
    loss = _Loss(lost_from, None) if mark.outcome is None else _NO_LOSS
    if due_at is None:
        return _pair_near(connection, job_ref, mark, loss)
    query = _DUE_WITHOUT_START if mark.outcome is None else _DUE_WITHOUT_END
    known = connection.execute(query, {"job_ref": job_ref, "due_at": due_at}).first()
    if known is None:
        run = Run(mark, None) if mark.outcome is None else Run(None, mark)
    else:
        start, end = _marks(known)
        if mark.outcome is None:
            run = Run(mark, end)
        else:
            run, loss = Run(start, mark), _Loss(known.lost_from, known.lost_at)
    _store(connection, job_ref, run, known.ref if known else None, due_at, loss)
    return run


def _pair_near(connection: Connection, job_ref: int, mark: Mark, loss: _Loss) -> Run:
    near = {"job_ref": job_ref, "since": mark.at - 2 * SKEW, "most": _MOST}
    rows = connection.execute(_NEAR, near).all()
    known = [(_marks(row), row.ref) for row in rows]
    losses = {mark.at: loss, **{row.started_at: _Loss(row.lost_from, row.lost_at) for row in rows}}
    paired = pair([mark, *(each for run, _ in known for each in run if each is not None)])
    changed = []
    for run in paired:
        if (same := next((row for row in known if row[0] == run), None)) is None:
            changed.append(run)
        else:
            known.remove(same)
    for run in changed:
        begun = losses[run.start.at] if run.start else _NO_LOSS
        _store(connection, job_ref, run, known.pop()[1] if known else None, None, begun)
    if known:
        connection.execute(delete(runs).where(runs.c.ref.in_([ref for _, ref in known])))
    return next(run for run in paired if any(each is mark for each in run))


def _marks(row: Row[Any]) -> Run:
    start = Mark(row.started_at, None, None) if row.started_at else None
    return Run(start, Mark(row.ended_at, row.outcome, row.ended_log) if row.ended_at else None)


def _store(
    connection: Connection, job_ref: int, run: Run, ref: int | None, due_at: datetime | None, loss: _Loss
) -> None:
    start, end = run
    times = [mark.at for mark in run if mark is not None]
    values = {
        "job_ref": job_ref,
        "due_at": due_at,
        "started_at": start.at if start else None,
        "ended_at": end.at if end else None,
        "ended_log": end.log if end else None,
        "outcome": end.outcome if end else None,
        "begun_at": min(times),
        "until": max(times) if end else LATER,
        "lost_from": loss.since,
        "lost_at": loss.reported_at,
    }
    if ref is None:
        connection.execute(_INSERT, values)
    else:
        connection.execute(_UPDATE, {"changed_ref": ref, **values})


def newest(connection: Connection, job_ref: int) -> Any:
    """Return the run of a job that was submitted last, or None.

    Returns:
        ``ref``, ``started_at``, ``ended_at``, ``due_at`` and ``lost_at``.
    """
    return connection.execute(_NEWEST, {"job_ref": job_ref}).first()


def state(run: Any) -> dict[str, datetime | None]:
    """Return the columns of a job that follow from its newest run: running or lost since its submission."""
    since = run.started_at if run and run.ended_at is None else None
    is_lost = run is not None and run.lost_at is not None
    return {"running_since": None if is_lost else since, "lost_since": since if is_lost else None}


def record_lost(connection: Connection, run_ref: int, at: datetime) -> bool:
    """Record that a run is lost; return False if it has ended meanwhile, or was recorded as lost before."""
    return bool(connection.execute(_UPDATE_LOST, {"changed_ref": run_ref, "at": at}).rowcount)
