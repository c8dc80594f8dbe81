"""Runs the jobs of the queue: procrastinate's worker, in an event loop of its own, started again whatever happens."""

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

_POLL = 2.0  # seconds after which it is looked for jobs although nobody told of one
_FORGET_IDLE = 86400.0  # seconds after which a worker without jobs and without a sign of life is forgotten
_RESTART_PAUSE = 1.0  # seconds


class DeliveryWorker:
    """Makes the attempts of deliveries that are due: those of one lock one after the other, others at the same time.

    Tenants take turns, and their listeners. How they share the threads is said in ``Shares``.

    Args:
        engine: the queue.
        attempt: makes an attempt, on one of ``concurrency`` threads.
        concurrency: how many attempts are made at the same time at most; half as many more while one listener has
            borrowed what others now need.
        stalled_after: seconds within which others go on with what this worker was doing, if it dies.
        grace_period: seconds that attempts have to end after ``stop``; those that have not are made again by others.
        name: the worker's name in the log.
        abandoned: says how many threads each listener keeps busy with attempts that did not end in time.
        hand_back: told of a delivery whose attempt has not ended within the grace period.
        tenants_of: whose listeners are, so that tenants take turns; called in a thread.
        experience: which listeners are known to be quick, or slow, by earlier attempts; called in a thread.
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
        """Work until ``stop``, in any thread. Signals are left to the caller."""
        self._task.open()
        try:
            asyncio.run(self._run())
        finally:
            self._task.close()

    def stop(self) -> None:
        """Let ``run`` begin nothing more, and return within the grace period; from any thread or signal handler."""
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
                    return  # the interpreter ends, and with it what an embedded worker needs
                if self._stopping.is_set():
                    logger.warning("The worker %s has stopped without the database: others go on later", self._name)
                    return
                logger.exception("The worker %s has failed, and begins anew", self._name)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _RESTART_PAUSE)

    async def _work(self, store: Store, connector: WorkerConnector) -> None:
        """Be one worker until it is stopped, or has been given up by others."""
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
            logger.warning(
                "The worker %s was silent for so long that others go on with its work; it begins anew", self._name
            )


class _Worker(Worker):
    def _log_extra(self, *arguments: Any, **more: Any) -> dict[str, Any]:
        """Leave out what is put together for every record of procrastinate's, and which nobody reads."""
        return {}


class _Demote(logging.Filter):
    """What procrastinate tells of every job is of interest only when something is wrong with the kit."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.INFO:
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return True


_demote = _Demote()


def _demote_logs(worker: str) -> None:
    for name in ("worker", f"worker.{worker}", "periodic", "blueprints"):
        logging.getLogger(f"procrastinate.{name}").addFilter(_demote)
    if not logger.isEnabledFor(logging.DEBUG):
        logging.getLogger("procrastinate").setLevel(logging.WARNING)  # not to make these records at all is much faster
