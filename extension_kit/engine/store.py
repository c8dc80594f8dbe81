"""Job store: the protocol of the connectors for SQLite and PostgreSQL."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from procrastinate import sql
from procrastinate.connector import Notify

QUERIES = {str(text): name for name, text in sql.queries.items()}
"""Names of procrastinate's queries by their texts, because procrastinate passes the texts to a connector."""

JOB_INSERTED = '{"type": "job_inserted", "job_id": 0}'
"""Payload that tells a worker to look for a job, as procrastinate's trigger on PostgreSQL sends it."""

Row = dict[str, Any]


class Turn(NamedTuple):
    """Round-robin position: the next job is that of the first listener after ``last`` in name order.

    The order wraps around. Listeners in ``resting`` are skipped, because they have used up their share of threads.
    """

    last: str = ""
    resting: frozenset[str] = frozenset()

    @classmethod
    def of(cls, listener: str, ready: frozenset[str]) -> "Turn":
        """Return the position at which ``listener`` is next, among listeners that have jobs."""
        before = listener[:-1] + chr(ord(listener[-1]) - 1) if listener else chr(0x10FFFF)
        return cls(before, ready - {listener})

    @staticmethod
    def after(listener: str) -> str:
        """Return the text that sorts directly after a listener's name; names have no such character."""
        return listener + "\x01"


class Store(Protocol):
    """The store of a worker's jobs: a connector of procrastinate, with more queries.

    Procrastinate ends a job by its id alone. A worker that was frozen for so long that others have taken over its jobs
    must not change them. So these queries take the worker's id, and return False if the job belongs to another worker.
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
        """Report jobs added or changed by other processes, until cancelled."""

    def expect_jobs(self) -> None:
        """Check more often, because this process is adding jobs. Called in the thread of the event loop."""

    async def fetch_job(self, queues: Sequence[str] | None, worker_id: int, turn: Turn) -> Row:
        """Start the next job of the next listener; none for a worker that is not registered.

        Among the jobs of one listener, procrastinate's query of this name decides.

        Returns:
            The job, with its ``listener``. If there is none, ``id`` is None, and ``wait`` is the seconds until the next
            job is due, or None.
        """

    async def ready_listeners(self, place: str, limit: int) -> list[str]:
        """Return the listeners that may have a job to start, sorted, from ``place`` on, at most ``limit``."""

    async def finish_own_job(self, **arguments: Any) -> bool:
        """End a job if it still belongs to this worker; return True if it did.

        Args:
            arguments: the arguments of procrastinate's query ``finish_job``, and ``worker_id``.
        """

    async def retry_own_job(self, **arguments: Any) -> bool:
        """Reschedule a job if it still belongs to this worker; return True if it did.

        Args:
            arguments: the arguments of procrastinate's query ``retry_job``, and ``worker_id``.
        """

    async def bring_back(self, job_ids: Sequence[int]) -> None:
        """Make postponed jobs due now."""

    async def beat(self, worker_id: int) -> bool:
        """Record a worker's heartbeat; return False if other workers have declared it dead and deleted it."""

    async def forget_idle(self, seconds: float) -> None:
        """Delete workers without jobs that have sent no heartbeat for ``seconds``."""

    async def take_over(self, worker_ids: Sequence[int], seconds: float) -> int:
        """Delete those workers that have sent no heartbeat for ``seconds``, and reschedule all jobs without a worker.

        Returns:
            The number of rescheduled jobs.
        """
