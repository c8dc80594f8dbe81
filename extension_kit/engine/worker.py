"""Delivery worker: procrastinate's worker in an event loop of its own, restarted after every failure."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from procrastinate import App
from procrastinate.worker import Worker

from extension_kit.engine.app import QUEUE, TASK, Engine
from extension_kit.engine.connector import Experience, TenantsOf, WorkerConnector, nobodys
from extension_kit.engine.making import Attempt
from extension_kit.engine.outages import Outages
from extension_kit.engine.reaper import Reaper
from extension_kit.engine.shares import most
from extension_kit.engine.store import Store
from extension_kit.engine.task import Task, When

logger = logging.getLogger("extension_kit.engine")

_POLL = 2.0  # seconds after which the worker looks for jobs without a notification
_FORGET_IDLE = 86400.0  # seconds after which a worker without jobs and without a heartbeat is deleted
_RESTART_PAUSE = 1.0  # seconds


class DeliveryWorker:
    """Makes the attempts of due deliveries: one after the other for each lock, otherwise at the same time.

    Tenants and their listeners take turns. ``Shares`` describes how they share the threads.

    Args:
        engine: the queue.
        attempt: makes an attempt, on one of ``concurrency`` threads.
        concurrency: the maximum number of attempts at the same time; up to half as many more while one listener uses
            borrowed threads that other listeners need.
        stalled_after: seconds within which other workers take over the jobs of this worker, if it dies.
        grace_period: seconds that attempts have to end after ``stop``; other workers repeat unfinished attempts.
        name: the worker's name in the log.
        abandoned: returns the number of threads that each listener keeps busy with attempts past their timeout.
        hand_back: called with the ref of a delivery if its attempt has not ended within the grace period.
        tenants_of: returns the tenants of listeners, so that tenants take turns; called in a thread.
        experience: returns earlier attempts, to tell quick from slow listeners; called in a thread.
    """

    def __init__(
        self,
        engine: Engine,
        attempt: Attempt,
        *,
        concurrency: int,
        stalled_after: float,
        grace_period: float,
        name: str,
        abandoned: Callable[[], Counter[str]] = Counter,
        hand_back: Callable[[int], None] = lambda ref: None,
        tenants_of: TenantsOf = nobodys,
        experience: Experience = tuple,
    ) -> None:
        self._engine = engine
        self._task = Task(attempt, most(concurrency), engine.holding, hand_back)
        self._concurrency = concurrency
        self._stalled_after = stalled_after
        self._grace_period = grace_period
        self._name = name
        self._abandoned = abandoned
        self._tenants_of = tenants_of
        self._experience = experience
        self._stop_asked = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> None:
        """Work until ``stop``, in any thread. The caller handles signals."""
        self._task.open()
        try:
            asyncio.run(self._run())
        finally:
            self._task.close()

    def stop(self) -> None:
        """Begin no more attempts and make ``run`` return within the grace period; from any thread or signal handler."""
        self._stop_asked = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self._stopping.set)

    async def _run(self) -> None:
        _demote_logs(self._name)
        self._stopping = asyncio.Event()
        self._outages = Outages(self._engine.database.name)
        self._loop = asyncio.get_running_loop()
        if self._stop_asked:
            return
        stop = asyncio.create_task(self._stopping.wait())
        while not self._stopping.is_set():
            store = self._engine.connector()
            connector = WorkerConnector(
                store,
                self._outages,
                self._concurrency,
                self._abandoned,
                lambda: self._stop_asked,
                self._task.is_over,
                self._tenants_of,
                self._experience,
            )
            session = asyncio.create_task(self._work(store, connector))
            await asyncio.wait({session, stop}, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                self._loop.call_later(self._grace_period if connector.has_jobs else 0, self._outages.give_up)
            try:
                await session
            except Exception:
                if not threading.main_thread().is_alive():
                    return  # the interpreter ends, and an embedded worker cannot go on
                if self._stopping.is_set():
                    logger.warning("Worker %s stopped while the database was unavailable", self._name)
                    return
                logger.exception("Worker %s failed, restarting", self._name)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _RESTART_PAUSE)

    async def _work(self, store: Store, connector: WorkerConnector) -> None:
        """Run one worker until it is stopped, or declared dead by other workers."""
        loop = asyncio.get_running_loop()
        await connector.open_async()
        app = App(connector=connector)
        app.task(name=TASK, queue=QUEUE, pass_context=True, retry=When())(self._task.run)
        worker = _Worker(
            app,
            queues=[QUEUE],
            name=self._name,
            concurrency=most(self._concurrency),
            fetch_job_polling_interval=_POLL,
            shutdown_graceful_timeout=self._grace_period,
            delete_jobs="always",
            install_signal_handlers=False,
            update_heartbeat_interval=self._stalled_after / 3,
            stalled_worker_timeout=_FORGET_IDLE,
        )
        reaper = Reaper(app.job_manager, store, self._outages, self._stalled_after)
        try:
            with self._engine.telling(lambda: loop.call_soon_threadsafe(store.expect_jobs)):
                run = asyncio.create_task(worker.run())  # type: ignore[no-untyped-call]
                others = {
                    asyncio.create_task(wait)
                    for wait in (reaper.run(), self._stopping.wait(), connector.disowned.wait())
                }
                done, _ = await asyncio.wait({run, *others}, return_when=asyncio.FIRST_COMPLETED)
                worker.stop()  # type: ignore[no-untyped-call]
                for task in others - done:
                    task.cancel()
                try:
                    await asyncio.gather(run, *done)
                finally:
                    await asyncio.gather(run, *others, return_exceptions=True)
        finally:
            await connector.close_async()
        if connector.disowned.is_set():
            logger.warning("Worker %s missed its heartbeats and others took over its jobs, restarting", self._name)


class _Worker(Worker):
    def _log_extra(self, *arguments: Any, **more: Any) -> dict[str, Any]:
        """Return no extra fields for procrastinate's log records, because they cost time and are not used."""
        return {}


class _Demote(logging.Filter):
    """Lowers procrastinate's INFO records to DEBUG: one for every job, useful only for debugging the kit."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.INFO:
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return True


_demote = _Demote()


def _demote_logs(worker: str) -> None:
    for name in ("worker", f"worker.{worker}", "periodic", "blueprints"):
        logging.getLogger(f"procrastinate.{name}").addFilter(_demote)
    if not logger.isEnabledFor(logging.DEBUG):
        logging.getLogger("procrastinate").setLevel(logging.WARNING)  # much faster than to make and drop these records
