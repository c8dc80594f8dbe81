"""Periodic tasks of a process that makes deliveries: retention, checks of the database, tasks of event protocols."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from extension_kit.deliveries.clock import reschedule_early
from extension_kit.deliveries.kept_room import KeptRoom
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.retention import clean
from extension_kit.deliveries.stranded import requeue_stranded
from extension_kit.errors import StoreError
from extension_kit.events.unfinished import refuse_unfinished
from extension_kit.runtime.contract import BoundProtocol
from extension_kit.runtime.extension_metrics import ExtensionMetrics
from extension_kit.runtime.kit import Kit
from extension_kit.store import deadline
from extension_kit.store.sqlite_file import Identity, files_at

logger = logging.getLogger("extension_kit.deliveries")


@dataclass(frozen=True)
class Intervals:
    """Seconds between the end of a run and the start of the next, for each of the kit's own tasks."""

    retention: float = 3600.0
    queue: float = 60.0
    file: float = 2.0
    room_sqlite: float = 2.0
    room_postgresql: float = 60.0
    metrics: float = 5.0


class PeriodicTasks:
    """The periodic tasks of a process, each in a daemon thread from ``start`` to ``stop``.

    Retention deletes ended events; stranded and misdated deliveries are made ready again; the size and the
    file of the database are checked; metrics of extensions are collected; event protocols have tasks of their own.

    Args:
        kit: the settings and the database, as tasks of protocols get them.
        outbox: tells whether a new database file can be used.
        protocols: other systems' event protocols.
        restart: restarts this process, after its database file has been replaced.
        intervals: seconds between runs.
        metrics: of extensions.
    """

    def __init__(
        self,
        kit: Kit,
        outbox: Outbox,
        protocols: Sequence[BoundProtocol[Any]],
        restart: Callable[[], None],
        intervals: Intervals,
        metrics: ExtensionMetrics,
    ) -> None:
        self._kit = kit
        self._outbox = outbox
        self._protocols = protocols
        self._restart = restart
        self._intervals = intervals
        self._metrics = metrics
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start a thread for each task."""
        intervals, database = self._intervals, self._kit.database
        self._repeat("retention", intervals.retention, self._clean)
        self._repeat("queue-check", intervals.queue, self._check_queue)
        room = KeptRoom(database, self._kit.settings.retention_megabytes)
        self._repeat("room", intervals.room_sqlite if database.is_sqlite else intervals.room_postgresql, room.look)
        if database.is_sqlite:
            main = files_at(database.path).main
            self._repeat("file", intervals.file, partial(self._follow_file, main))
        for hook in self._metrics.hooks:
            self._repeat(f"{hook.extension}-metrics", intervals.metrics, partial(self._metrics.collect, hook))
        for bound in self._protocols:
            tasks = bound.protocol.tasks
            called = [f"{bound.source}-{getattr(task.run, '__name__', 'task')}" for task in tasks]
            for number, (name, task) in enumerate(zip(called, tasks, strict=True), 1):
                unique = name if called.count(name) == 1 else f"{name}-{number}"
                self._repeat(unique, task.every, partial(task.run, self._kit, bound.settings))

    def stop(self, timeout: float) -> None:
        """Start no further run, and wait at most ``timeout`` seconds for the runs in progress."""
        self._stopped.set()
        ends_at = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(ends_at - time.monotonic(), 0))

    def _repeat(self, name: str, every: float, run: Callable[[], object]) -> None:
        def repeat() -> None:
            postponed = ""
            while True:
                try:
                    with deadline.patiently():  # no caller waits for it
                        refuse_unfinished(run(), f"the task {name}")
                    postponed = ""
                except StoreError as error:
                    if str(error) != postponed:
                        logger.warning("Periodic task %s postponed: %s", name, error)
                    postponed = str(error)
                except BaseException:  # SystemExit and CancelledError, too: a thread that ends is not replaced
                    logger.exception("Periodic task %s failed, retrying in %g s", name, every)
                if self._stopped.wait(every):
                    return

        thread = threading.Thread(target=repeat, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _check_queue(self) -> None:
        reschedule_early(self._kit.database)
        requeue_stranded(self._kit.database)

    def _follow_file(self, opened: Identity | None) -> None:
        """Restart the process once the database file has been replaced by another usable one."""
        database = self._kit.database
        if files_at(database.path).main in (None, opened):
            return
        with suppress(StoreError):
            self._outbox.check_writable(attempts=True)
            logger.error("Database file %s was replaced, restarting this process", database.name)
            self._restart()

    def _clean(self) -> None:
        settings = self._kit.settings
        cleaned = clean(self._kit.database, settings.retention_days, settings.retention_megabytes, datetime.now(UTC))
        logger.debug("Retention finished: %s", cleaned)
