"""Known runs: those of some jobs that the events of a transaction may change, paired in memory."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from .jobs import Job
from .runs import SKEW, Mark, Run, pair
from .tables import LATER

_MOST = 100
"""Runs of a job that are read for an event. There are more only if a service never sends ends."""


class Loss(NamedTuple):
    """The times from which a run counts as lost, and at which it was reported as lost."""

    since: datetime | None
    reported_at: datetime | None


NO_LOSS = Loss(None, None)


class KnownRun:
    """A run, as it is stored or to be stored.

    Attributes:
        ref: of its row; None for a new one.
        job_ref: of the row of its job.
        due_at: its scheduled begin, which identifies it; None if it is unknown.
        run: its submission and its end.
        loss: says if it is lost.
        stored: its submission, its end and its loss as they are in the database; None for a new one.
    """

    __slots__ = ("due_at", "job_ref", "loss", "ref", "run", "stored")

    def __init__(self, ref: int | None, job_ref: int, due_at: datetime | None, run: Run, loss: Loss) -> None:
        self.ref = ref
        self.job_ref = job_ref
        self.due_at = due_at
        self.run = run
        self.loss = loss
        self.stored = None if ref is None else (run, loss)

    @property
    def started_at(self) -> datetime | None:
        """The time of its submission."""
        return self.run.start.at if self.run.start else None

    @property
    def times(self) -> list[datetime]:
        """The times of its submission and its end, as far as they are known."""
        return [mark.at for mark in self.run if mark is not None]

    @property
    def until(self) -> datetime:
        """The later of both times; ``LATER`` without an end."""
        return max(self.times) if self.run.end else LATER

    @property
    def is_changed(self) -> bool:
        """True if it is to be written."""
        return self.stored != (self.run, self.loss)

    @property
    def has_only_ended(self) -> bool:
        """True if all that has changed is its end, after its submission."""
        if self.stored is None or self.run.start is None or self.run.end is None:
            return False
        begun, loss = self.stored
        return begun == Run(self.run.start, None) and loss == self.loss and self.run.end.at >= self.run.start.at

    def change(self, run: Run, loss: Loss) -> None:
        """Give it another submission or end, and another loss."""
        self.run, self.loss = run, loss


class KnownRuns:
    """The runs of some jobs.

    Args:
        found: those of them that events of these jobs may change, in the order of their refs, with the newest of each.
    """

    def __init__(self, found: Iterable[KnownRun]) -> None:
        self._by_job: dict[int, list[KnownRun]] = {}
        self.removed: list[int] = []
        """Refs of rows that are no longer needed."""
        for each in found:
            self._by_job.setdefault(each.job_ref, []).append(each)

    @property
    def changed(self) -> list[KnownRun]:
        """The runs that are to be written."""
        return [each for of_job in self._by_job.values() for each in of_job if each.is_changed]

    def pair_with(self, job_ref: int, mark: Mark, due_at: datetime | None, lost_from: datetime | None = None) -> Run:
        """Pair the submission or the end of a run with the other of both, if that is known.

        Args:
            job_ref: the ref of the job.
            mark: the submission or end.
            due_at: the scheduled begin, which identifies the run; None: it is unknown.
            lost_from: the time from which the run counts as lost, if this is its submission; None: it is unknown.

        Returns:
            The run of the mark.
        """
        loss = Loss(lost_from, None) if mark.outcome is None else NO_LOSS
        of_job = self._by_job.setdefault(job_ref, [])
        if due_at is None:
            return self._pair_near(job_ref, of_job, mark, loss)
        place = 0 if mark.outcome is None else 1
        known = next((each for each in of_job if each.due_at == due_at and each.run[place] is None), None)
        if known is None:
            known = KnownRun(None, job_ref, due_at, Run(None, None), loss)
            of_job.append(known)
        run = Run(mark, known.run.end) if mark.outcome is None else Run(known.run.start, mark)
        known.change(run, loss if mark.outcome is None else known.loss)
        return run

    def _pair_near(self, job_ref: int, of_job: list[KnownRun], mark: Mark, loss: Loss) -> Run:
        since = mark.at - 2 * SKEW
        # The latest, of equal ones the last that was added: those are behind the others.
        near = sorted(
            (each for each in reversed(of_job) if each.due_at is None and each.until >= since),
            key=lambda each: each.until,
            reverse=True,
        )[:_MOST]
        losses = {mark.at: loss, **{each.started_at: each.loss for each in near}}
        paired = pair([mark, *(one for each in near for one in each.run if one is not None)])
        free = [(each.run, each) for each in near]
        changed = []
        for run in paired:
            if (same := next((each for each in free if each[0] == run), None)) is None:
                changed.append(run)
            else:
                free.remove(same)
        for run in changed:
            begun = losses[run.start.at] if run.start else NO_LOSS
            if free:
                free.pop()[1].change(run, begun)
            else:
                of_job.append(KnownRun(None, job_ref, None, run, begun))
        for _, each in free:
            of_job.remove(each)
            if each.ref is not None:
                self.removed.append(each.ref)
        return next(run for run in paired if any(each is mark for each in run))

    def newest(self, job_ref: int) -> KnownRun | None:
        """Return the run of a job that was submitted last, or None."""
        newest: tuple[datetime, KnownRun] | None = None
        for each in self._by_job.get(job_ref, ()):
            at = each.started_at
            if at is not None and (newest is None or at >= newest[0]):
                newest = at, each
        return newest[1] if newest else None

    def applied_to(self, job: Job, job_ref: int) -> Job:
        """Return a job as its newest run says: running, or lost, since its submission."""
        run = self.newest(job_ref)
        since = run.started_at if run and run.run.end is None else None
        is_lost = run is not None and run.loss.reported_at is not None
        return job._replace(running_since=None if is_lost else since, lost_since=since if is_lost else None)
