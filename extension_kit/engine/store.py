"""What a worker needs of the place where jobs are, whichever it is."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from procrastinate import sql
from procrastinate.connector import Notify

QUERIES = {str(text): name for name, text in sql.queries.items()}
"""The names of procrastinate's queries: what it hands to a connector are their texts."""

JOB_INSERTED = '{"type": "job_inserted", "job_id": 0}'
"""Says to a worker that it may find a job, in the words in which PostgreSQL says it."""

Row = dict[str, Any]


class Turn(NamedTuple):
    """Whose job is next: that of the first listener after ``last``, by name and around, which is not ``resting``."""

    last: str = ""
    resting: frozenset[str] = frozenset()

    @classmethod
    def of(cls, listener: str, ready: frozenset[str]) -> "Turn":
        """The turn of one of the listeners that have jobs."""
        before = listener[:-1] + chr(ord(listener[-1]) - 1) if listener else chr(0x10FFFF)
        return cls(before, ready - {listener})

    @staticmethod
    def after(listener: str) -> str:
        """What comes right after a name: no name has such a character."""
        return listener + "\x01"


class Store(Protocol):
    """A connector of procrastinate, and what goes beyond it.

    Procrastinate ends a job by its number alone. A worker which was frozen so long that others have taken over its jobs
    must not touch them any more; so here it says who it is, and is told whether the job was still its own.
    """

    async def open_async(self) -> None:
        """Connect."""

    async def close_async(self) -> None:
        """Disconnect."""

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        """Execute one of procrastinate's queries."""

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> Row:
        """Execute one of procrastinate's queries and return its first row."""

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[Row]:
        """Execute one of procrastinate's queries and return its rows."""

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Tell of jobs that others have added or changed, until cancelled."""

    def expect_jobs(self) -> None:
        """Listen more closely: this process is adding jobs. Called in the thread of the event loop."""

    async def fetch_job(self, queues: Sequence[str] | None, worker_id: int, turn: Turn) -> Row:
        """Start the next job of the listener whose turn it is; none for a worker that is not known.

        Among the jobs of one listener, it is the one that procrastinate's query of this name starts.

        Returns:
            The job, with its ``listener``. Without one its ``id`` is None, and ``wait`` the seconds until the next is
            due, or None.
        """

    async def ready_listeners(self, place: str, limit: int) -> list[str]:
        """Return the listeners, from a place on and so many at most, for which there may be a job to start, sorted."""

    async def finish_own_job(self, **arguments: Any) -> bool:
        """End a job if it is still this worker's, and say whether it was.

        Args:
            arguments: those of procrastinate's query ``finish_job``, and ``worker_id``.
        """

    async def retry_own_job(self, **arguments: Any) -> bool:
        """Have a job done again later if it is still this worker's, and say whether it was.

        Args:
            arguments: those of procrastinate's query ``retry_job``, and ``worker_id``.
        """

    async def bring_back(self, job_ids: Sequence[int]) -> None:
        """Make jobs due now that wait for a later time."""

    async def beat(self, worker_id: int) -> bool:
        """Write down that a worker lives; False where it is not known, because others have thought it dead."""

    async def forget_idle(self, seconds: float) -> None:
        """Forget workers that have no jobs and have given no sign of life for so long."""

    async def take_over(self, worker_ids: Sequence[int], seconds: float) -> int:
        """Forget those workers that have given no sign of life for so long, and have all jobs without worker done anew.

        Returns:
            How many jobs.
        """
