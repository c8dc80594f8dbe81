"""SQLite jobs: the transactions of the queue, equivalent to procrastinate's functions on PostgreSQL."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from procrastinate.exceptions import ConnectorException
from procrastinate.types import JobToDefer

from extension_kit.engine import sqlite_queries as queries
from extension_kit.engine.store import Row, Turn
from extension_kit.engine.times import from_microseconds, now, to_microseconds
from extension_kit.store import sqlite

T = TypeVar("T")
Execute = Callable[..., list[Row]]

_MOMENT = 0.002  # seconds to wait for other threads of this process
_MOST_NOTES = 100  # written in one transaction, while others wait for the write lock
_PYTHON: dict[str, Callable[[Any], Any]] = {
    "args": json.loads,
    "scheduled_at": from_microseconds,
    "abort_requested": bool,
    "stats": json.loads,
}


class Busy(Exception):
    """Another connection holds the write lock."""


class SqliteJobs:
    """The queue in a SQLite file.

    Args:
        connection: used by this object only.
        turn: the lock that the threads of this process take before they write.
    """

    def __init__(self, connection: sqlite3.Connection, turn: "threading.Lock | None" = None) -> None:
        self._connection = connection
        self._turn = turn or threading.Lock()
        self._patient = False
        self._found = False  # True if the last fetch found a job
        connection.row_factory = _row

    def patiently(self, question: Callable[..., T], *arguments: Any, **more: Any) -> T:
        """Call a method, waiting for the write lock.

        Raises:
            sqlite3.OperationalError: the lock was not free in time.
        """
        self._patient = True
        try:
            return question(self, *arguments, **more)
        finally:
            self._patient = False

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def execute(self, name: str, **arguments: Any) -> list[Row]:
        """Execute one of procrastinate's queries and return its rows.

        Raises:
            NotImplementedError: the query is not needed for deliveries.
            ConnectorException: no job with this id can be changed by the query.
            Busy: another connection holds the write lock.
            sqlite3.Error: the database refuses the query.
        """
        if name == "fetch_job":
            return [self.fetch_job(**arguments, turn=Turn())]
        if name in queries.READING:
            return self._execute(queries.READING[name], now(), arguments)
        if name in _WRITING:
            with self._transaction() as execute:
                return _WRITING[name](execute, **arguments)
        raise NotImplementedError(f"procrastinate's query {name} is not implemented on SQLite")

    def fetch_job(self, queues: Sequence[str] | None, worker_id: int, turn: Turn) -> Row:
        """Start the next job; if there is none, return the seconds until the next is due."""
        wanted = {"queues": None if queues is None else json.dumps(list(queues))}
        # Read first without the write lock, so that an idle worker does not take it from others.
        if not self._found and (wait := self._wait(wanted, worker_id, turn)) != 0:
            return {"id": None, "wait": wait}
        self._found = False
        with self._transaction() as execute:
            execute(queries.COME_DUE)
            for _ in range(_MOST_NOTES):
                if (listener := self._next_listener(wanted, turn)) is None:
                    break
                [candidate] = execute(queries.CANDIDATE, **wanted, listener=listener)
                if candidate["waits_for"] is None:
                    started = execute(queries.START, id=candidate["id"], worker_id=worker_id)
                    self._found = bool(started)
                    return started[0] if started else {"id": None, "wait": None}
                execute(queries.NOTE, **candidate)
            return {"id": None, "wait": self._wait(wanted, worker_id, turn)}

    def ready_listeners(self, place: str, limit: int) -> list[str]:
        """Return the listeners that may have a job to start, sorted, from ``place`` on, at most ``limit``."""
        if self._execute(queries.ANY_DUE, now(), {}):
            with self._transaction() as execute:
                execute(queries.COME_DUE)
        return [row["listener"] for row in self._execute(queries.ALL_READY, now(), {"place": place, "limit": limit})]

    def finish_own_job(self, job_id: int, status: str, delete_job: bool, worker_id: int) -> bool:
        """End a job if it still belongs to this worker; return True if it did."""
        with self._transaction() as execute:
            own = execute(queries.OWN, job_id=job_id, worker_id=worker_id)
            return bool(own and _finish(execute, job_id, status, delete_job))

    def retry_own_job(self, job_id: int, worker_id: int, **changes: Any) -> bool:
        """Reschedule a job if it still belongs to this worker; return True if it did."""
        with self._transaction() as execute:
            own = execute(queries.OWN, job_id=job_id, worker_id=worker_id)
            return bool(own and _retry(execute, job_id, **changes))

    def bring_back(self, job_ids: Sequence[int]) -> None:
        """Make postponed jobs due now."""
        with self._transaction() as execute:
            execute(queries.BRING_BACK, job_ids=json.dumps(list(job_ids)))

    def forget_idle(self, seconds: float) -> None:
        """Delete workers without jobs that have sent no heartbeat for ``seconds``."""
        with self._transaction() as execute:
            execute(queries.FORGET_IDLE, seconds=seconds)

    def take_over(self, worker_ids: Sequence[int], seconds: float) -> int:
        """Delete dead workers and reschedule all jobs without a worker; return the number of jobs."""
        with self._transaction() as execute:
            for worker in execute(queries.STALLED, seconds=seconds):
                if worker["id"] in worker_ids:
                    _unregister(execute, worker["id"])
            orphans = execute(queries.ORPHANS)
            for job in orphans:
                _retry(execute, job["id"], now())
            return len(orphans)

    def _next_listener(self, wanted: Row, turn: Turn) -> str | None:
        """Return the next listener that may have a job to start and is not resting; None without one."""
        for place, end in ((turn.after(turn.last), None), ("", turn.last)):
            while ready := self._execute(queries.READY, now(), {**wanted, "place": place}):
                listener: str = ready[0]["listener"]
                if end is not None and listener > end:
                    break
                if listener not in turn.resting:
                    return listener
                place = turn.after(listener)
        return None

    def _wait(self, wanted: Row, worker_id: int, turn: Turn) -> float | None:
        """Return the seconds until a job may be due: 0 if there may be one now, None if the queue must change first."""
        moment = now()
        outlook = self._execute(queries.OUTLOOK, moment, {"worker_id": worker_id})[0]
        if not outlook["known"]:
            return None
        if self._next_listener(wanted, turn) is not None:
            return 0
        due: int | None = outlook["due"]
        return None if due is None else max(due - moment, 0) / 1_000_000

    @contextmanager
    def _transaction(self) -> Iterator[Execute]:
        is_ours = self._turn.acquire(timeout=sqlite.WAIT if self._patient else _MOMENT)
        try:
            self._begin(is_ours)
            try:
                moment = now()
                yield lambda query, **arguments: self._execute(query, moment, arguments)
                self._connection.commit()
            except BaseException:
                self._connection.rollback()
                raise
        finally:
            if is_ours:
                self._turn.release()

    def _begin(self, is_our_turn: bool) -> None:
        if self._patient:
            sqlite.begin(self._connection)
            return
        if not is_our_turn:
            raise Busy
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise Busy from error
            raise

    def _execute(self, query: str, moment: int, arguments: Row) -> list[Row]:
        written = {
            name: to_microseconds(value) if isinstance(value, datetime) else value for name, value in arguments.items()
        }
        return self._connection.execute(query, {**written, "now": moment}).fetchall()


def _row(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
    row = {column[0]: value for column, value in zip(cursor.description, values, strict=True)}
    read = {name: _PYTHON[name](value) for name, value in row.items() if name in _PYTHON and value is not None}
    return row | read


def _defer(execute: Execute, jobs: Sequence[JobToDefer]) -> list[Row]:
    return [execute(queries.DEFER, **{**job._asdict(), "args": json.dumps(job.args)})[0] for job in jobs]


def _finish(execute: Execute, job_id: int, status: str, delete_job: bool) -> list[Row]:
    if status not in ("succeeded", "failed", "aborted"):
        raise ConnectorException(f"a job cannot end as {status}")
    done = execute(queries.DELETE if delete_job else queries.FINISH, job_id=job_id, status=status)
    return _changed(done, job_id)


def _retry(
    execute: Execute,
    job_id: int,
    retry_at: datetime | int,
    new_priority: int | None = None,
    new_queue_name: str | None = None,
    new_lock: str | None = None,
) -> list[Row]:
    changes = {"new_priority": new_priority, "new_queue_name": new_queue_name, "new_lock": new_lock}
    done = execute(queries.FAIL_ABORTED, job_id=job_id)
    return _changed(done or execute(queries.RETRY, job_id=job_id, scheduled_at=retry_at, **changes), job_id)


def _changed(done: list[Row], job_id: int) -> list[Row]:
    if not done:
        raise ConnectorException(f"there is no job {job_id}, or it has ended")
    return done


def _cancel(execute: Execute, job_id: int, abort: bool, delete_job: bool) -> list[Row]:
    deleted = execute(queries.DELETE_WAITING, job_id=job_id) if delete_job else []
    return deleted or execute(queries.ABORT if abort else queries.CANCEL, job_id=job_id) or [{"id": None}]


def _unregister(execute: Execute, worker_id: int) -> list[Row]:
    execute(queries.DISOWN, worker_id=worker_id)
    return execute(queries.UNREGISTER, worker_id=worker_id)


def _prune(execute: Execute, seconds_since_heartbeat: float) -> list[Row]:
    stalled = [worker["id"] for worker in execute(queries.STALLED, seconds=seconds_since_heartbeat)]
    for worker_id in stalled:
        _unregister(execute, worker_id)
    return [{"worker_id": worker_id} for worker_id in stalled]


_WRITING: dict[str, Callable[..., list[Row]]] = {
    "defer_jobs": _defer,
    "finish_job": _finish,
    "retry_job": _retry,
    "cancel_job": _cancel,
    "register_worker": lambda execute: execute(queries.REGISTER),
    "unregister_worker": _unregister,
    "update_heartbeat": lambda execute, worker_id: execute(queries.BEAT, worker_id=worker_id),
    "prune_stalled_workers": _prune,
}
