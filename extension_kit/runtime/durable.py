"""Durable runtime: the database, the engine, the outbox and the worker of a service with durable listeners.

Imported only for a durable listener, because its imports are large.
"""

import atexit
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Connection

from extension_kit.deliveries.adoption import orphans, sentence
from extension_kit.deliveries.attempt import Attempts, FindHandler, Handler
from extension_kit.deliveries.attempt_rows import latest
from extension_kit.deliveries.backlog import read_backlog
from extension_kit.deliveries.clock import bring_back
from extension_kit.deliveries.function_handlers import function_handlers, listeners_by_key
from extension_kit.deliveries.group_commit import GroupCommit
from extension_kit.deliveries.hung_runs import AbandonedRuns
from extension_kit.deliveries.kept_room import KeptRoom
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.retention import clean
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.deliveries.step_memory import find_step
from extension_kit.deliveries.stranded import take_up
from extension_kit.deliveries.subscription_handlers import Manner, target_handlers
from extension_kit.deliveries.subscription_matching import matching, subscription_ref, wanted_names
from extension_kit.deliveries.subscriptions import scopes
from extension_kit.engine.app import Engine
from extension_kit.errors import StoreError
from extension_kit.events.event import FindStep
from extension_kit.events.patterns import PatternIndex
from extension_kit.events.published import PublishedEvent
from extension_kit.events.registry import Listener
from extension_kit.events.unfinished import refuse_unfinished
from extension_kit.runtime.cached import Sampled
from extension_kit.runtime.kit import Host
from extension_kit.settings.kit import Settings
from extension_kit.store import deadline
from extension_kit.store.database import Database
from extension_kit.store.extension_tables import Tables
from extension_kit.store.migrate import upgrade
from extension_kit.store.sqlite_file import Identity, files_at

if TYPE_CHECKING:
    from extension_kit.engine.worker import DeliveryWorker

logger = logging.getLogger("extension_kit.deliveries")

_HOUR = 3600.0
_MINUTE = 60.0
_ATTEMPTS_KNOWN = 1000  # read by a starting worker, to know which listeners are quick
_FILE_CHECK = 2.0  # seconds
_ROOM_CHECK, _ROOM_CHECK_POSTGRESQL = 2.0, 60.0  # seconds
_HAND_BACK_TIMEOUT = 3.0  # seconds

# atexit is too late: the engine hands back its jobs through executors, which take no more work by then.
_before_threads_end: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)


class Speaks(Protocol):
    """The part of ``extension_kit.protocol.EventProtocol`` that the durable runtime needs."""

    source: str
    event: type[PublishedEvent]
    tables: Tables | None
    manner: Callable[[Any], Manner] | None
    tasks: Sequence[Any]


class Durability:
    """The durable half of a service, for one process.

    Args:
        settings: the kit's settings.
        listeners: the listeners that get deliveries.
        protocols: other systems' event protocols, each with its settings.

    Raises:
        ConfigurationError: the database's URL, or the file of trusted authorities, cannot be used.
        StoreError: the database cannot be used, or has to be upgraded first.
    """

    def __init__(
        self, settings: Settings, listeners: Sequence[Listener], protocols: Sequence[tuple[Speaks, Any]] = ()
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._protocols = protocols
        self._index: PatternIndex[Listener] = PatternIndex()
        for listener in listeners:
            self._index.add(listener.names, listener)
        self.database = Database(settings.database_url, timeout=settings.store_timeout)
        # No flush: a power failure may lose the end of an attempt; the delivery is then repeated (at-least-once).
        self._unflushed = Database(settings.database_url, flush=False, timeout=settings.store_timeout)
        self.engine = Engine(self.database)
        self.senders = Senders(settings)
        prepare(self.database, self.engine, [protocol.tables for protocol, _ in protocols if protocol.tables])
        self._outbox = outbox = Outbox(self.database, self.engine, matching)
        self.recorder = GroupCommit(outbox, settings.queue_limit, timeout=settings.store_timeout)
        self.host = Host(settings, self.database, self.senders, outbox, self._index)
        self.backlog = Sampled(partial(read_backlog, self.database))
        self.is_writable = Sampled(partial(self._is_writable, attempts=False))
        self.is_deliverable = Sampled(partial(self._is_writable, attempts=True))
        self._embedded: DeliveryWorker | None = None
        self._embedding = threading.Lock()
        self._closed = threading.Event()

    @property
    def find_step(self) -> FindStep:
        """Finds the step for ``event.step``."""
        return partial(find_step, self.database)

    @property
    def keys(self) -> list[str]:
        """Listener keys of the deliveries to the listeners."""
        return [listener.key for listener in self._listeners]

    def tell_of_orphans(self) -> None:
        """Log the waiting deliveries of functions that are not loaded, if any: most often a function was renamed."""
        try:
            with self.database.read() as connection:
                found = orphans(connection, listeners_by_key(self._listeners).keys())
        except StoreError as error:
            logger.debug("Cannot look for deliveries without a function: %s", error)
            return
        if found:
            logger.warning("%s", sentence(found, "which is not loaded here"))

    def worker(self, name: str) -> "DeliveryWorker":
        """Return a new delivery worker; ``run`` starts it."""
        # Imported here: a process that only takes events does not need procrastinate.
        from extension_kit.engine.worker import DeliveryWorker

        settings = self._settings
        abandoned = AbandonedRuns(max(settings.worker_threads // 2, 1), _end_process)
        attempts = Attempts(self._unflushed, self._find_handler(), abandoned, self.engine.is_held, self.engine.end_held)
        return DeliveryWorker(
            self.engine,
            attempts,
            concurrency=settings.worker_threads,
            stalled_after=settings.stalled_after,
            grace_period=settings.grace_period,
            name=name,
            abandoned=abandoned.by_listener,
            hand_back=attempts.hand_back,
            tenants_of=self._tenants_of,
            experience=self._experience,
        )

    def _experience(self) -> list[tuple[str, float, bool]]:
        with self.database.read() as connection:
            return latest(connection, _ATTEMPTS_KNOWN)

    def _tenants_of(self, listeners: Sequence[str]) -> dict[str, str]:
        with self.database.read() as connection:
            return scopes(connection, listeners)

    def _find_handler(self) -> FindHandler:
        """Return the finder of handlers for functions and subscriptions."""
        views = {protocol.source: protocol.event for protocol, _ in self._protocols}
        manners = {each.source: each.manner(settings) for each, settings in self._protocols if each.manner}
        of_function = function_handlers(self._listeners, self._settings.function_timeout, self.find_step, views)
        of_subscription = target_handlers(self.senders, manners=manners)

        def find(key: str, connection: Connection) -> Handler | None:
            return (of_function if subscription_ref(key) is None else of_subscription)(key, connection)

        return find

    def _is_writable(self, *, attempts: bool) -> bool:
        try:
            self._outbox.check_writable(attempts=attempts)
        except StoreError as error:
            logger.debug("Database not writable: %s", error)
            return False
        return True

    def keep_house(self) -> None:
        """Start the periodic tasks, each in a daemon thread.

        Retention runs once an hour, the search for stranded and misdated deliveries once a minute, the checks of the
        database's size and file every few seconds; event protocols have tasks of their own.
        """
        self._repeat("retention", _HOUR, self._clean)
        self._repeat("queue-check", _MINUTE, self._check_queue)
        room = KeptRoom(self.database, self._settings.retention_megabytes)
        self._repeat("room", _ROOM_CHECK if self.database.is_sqlite else _ROOM_CHECK_POSTGRESQL, room.look)
        if self.database.is_sqlite:
            main = files_at(self.database.path).main
            self._repeat("file", _FILE_CHECK, partial(self._follow_file, main))
        for protocol, settings in self._protocols:
            called = [f"{protocol.source}-{getattr(task.run, '__name__', 'task')}" for task in protocol.tasks]
            for number, (name, task) in enumerate(zip(called, protocol.tasks, strict=True), 1):
                self._repeat(
                    name if called.count(name) == 1 else f"{name}-{number}",
                    task.every,
                    partial(task.run, self.host, settings),
                )

    def _check_queue(self) -> None:
        bring_back(self.database, self.engine)
        take_up(self.database, self.engine)

    def _follow_file(self, opened: Identity | None) -> None:
        """Restart the process once the database file has been replaced by another usable one."""
        if files_at(self.database.path).main in (None, opened):
            return
        with suppress(StoreError):
            self._outbox.check_writable(attempts=True)
            logger.error("Database file %s was replaced, restarting this process", self.database.name)
            _end_process()

    def _clean(self) -> None:
        settings = self._settings
        cleaned = clean(self.database, settings.retention_days, settings.retention_megabytes, datetime.now(UTC))
        logger.debug("Retention finished: %s", cleaned)

    def wanted_names(self, names: Sequence[str]) -> list[str]:
        """Return the event names, of those given, that subscriptions want."""
        with self.database.read() as connection:
            return wanted_names(connection, names)

    def embed_worker(self) -> None:
        """Run a worker in a thread of this process, unless one runs.

        At the end of the process, attempts in progress have the grace period to end.
        """
        with self._embedding:
            if self._embedded is not None:
                return
            self._embedded = self.worker("embedded")
            self.tell_of_orphans()
            self.keep_house()
        thread = threading.Thread(target=self._embedded.run, name="deliveries", daemon=True)
        _before_threads_end(partial(self._end_embedded, thread))
        thread.start()
        logger.info("Embedded delivery worker started")

    def _end_embedded(self, thread: threading.Thread) -> None:
        if self._embedded is not None and thread.is_alive():  # False in a process forked since
            self._embedded.stop()
            thread.join(self._settings.grace_period + _HAND_BACK_TIMEOUT)

    def _repeat(self, name: str, every: float, run: Callable[[], object]) -> None:
        """Call ``run`` every ``every`` seconds until ``close``, in a daemon thread."""

        def go_on() -> None:
            said = ""
            ended = False
            while not ended:
                try:
                    with deadline.patiently():  # no caller waits for it
                        refuse_unfinished(run(), f"the task {name}")
                    said = ""
                except StoreError as error:
                    if str(error) != said:
                        logger.warning("Periodic task %s postponed: %s", name, error)
                    said = str(error)
                except BaseException:  # SystemExit and CancelledError, too: a thread that ends is not replaced
                    logger.exception("Periodic task %s failed, retrying in %g s", name, every)
                ended = self._closed.wait(every)

        threading.Thread(target=go_on, name=name, daemon=True).start()

    def close(self, timeout: float) -> None:
        """Commit the waiting events, end an embedded worker, and close connections."""
        self._closed.set()
        self.recorder.close(timeout)
        if self._embedded is not None:
            self._embedded.stop()
        self.senders.close()
        self._unflushed.dispose()
        self.database.dispose()


def _end_process() -> None:
    """End this process with SIGTERM; its supervisor starts another."""
    os.kill(os.getpid(), signal.SIGTERM)


def prepare(database: Database, engine: Engine, extensions: Sequence[Tables] = ()) -> None:
    """Migrate a SQLite database; only check one in PostgreSQL, because several machines may use it.

    Raises:
        StoreError: the database cannot be used, or has to be upgraded first.
    """
    upgrade(database, engine.create_tables, extensions, only_check=not database.is_sqlite)
