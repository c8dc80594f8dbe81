"""Durable runtime: the database, the engine, the outbox and the worker of a service with durable listeners.

Imported only for a durable listener, because its imports are large.
"""

import logging
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from extension_kit.deliveries.adoption import describe_orphans, orphans
from extension_kit.deliveries.backlog import read_backlog
from extension_kit.deliveries.event_recorder import EventRecorder
from extension_kit.deliveries.function_handlers import listeners_by_key
from extension_kit.deliveries.group_commit import GroupCommit
from extension_kit.deliveries.inbox import Inbox
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.readiness import Readiness
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.deliveries.state import States
from extension_kit.deliveries.step_memory import find_step
from extension_kit.deliveries.subscription_matching import matching, wanted_names
from extension_kit.deliveries.target_listeners import made_targets
from extension_kit.errors import StoreError
from extension_kit.events.answers import Answer
from extension_kit.events.event import FindStep
from extension_kit.events.registry import Listener
from extension_kit.observability import tracing
from extension_kit.runtime.cached import Cached
from extension_kit.runtime.contract import BoundProtocol
from extension_kit.runtime.embedded import EmbeddedWorker
from extension_kit.runtime.extension_metrics import ExtensionMetrics
from extension_kit.runtime.grouped_routes import GroupedRoute, RouteWriter
from extension_kit.runtime.kit import Kit
from extension_kit.runtime.periodic import Intervals, PeriodicTasks
from extension_kit.runtime.process_hooks import ProcessHooks
from extension_kit.runtime.worker_hooks import WorkerHooks
from extension_kit.runtime.worker_maker import WorkerMaker, end_process
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database
from extension_kit.store.extension_tables import Tables
from extension_kit.store.migrate import upgrade

if TYPE_CHECKING:
    from extension_kit.engine.worker import DeliveryWorker

logger = logging.getLogger("extension_kit.deliveries")


class DurableRuntime:
    """The durable half of a service, for one process.

    Args:
        settings: the kit's settings.
        listeners: the listeners that get deliveries.
        protocols: other systems' event protocols, each with its settings.
        intervals: seconds between the runs of the kit's periodic tasks.
        has_immediate: False if no immediate listener may ask for the step of an event that is not filed yet.
        hooks: the hooks of the process; None: there are none.

    Raises:
        ConfigurationError: a database's URL, the file of trusted authorities or the target of a listener cannot be
            used.
        StoreError: the database cannot be used, or has to be upgraded first.
    """

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[Listener],
        protocols: Sequence[BoundProtocol[Any]] = (),
        intervals: Intervals | None = None,
        *,
        has_immediate: bool = True,
        hooks: ProcessHooks | None = None,
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self.database = Database(settings.database_url, timeout=settings.store_timeout)
        self.states = States(self.database, settings.retention_days)
        self.senders = Senders(settings)
        targets = made_targets(listeners, self.senders)
        prepare(self.database, [each.protocol.tables for each in protocols if each.protocol.tables])
        self._outbox = outbox = Outbox(self.database, matching)
        self._inbox = Inbox(self.database, keeps_traces=tracing.spans is not None)
        self._inbox.prepare()
        # A durable function is run for events that are filed, and so are those before them.
        self._remembers_steps = has_immediate
        self.recorder = EventRecorder(
            self._inbox,
            settings.queue_limit,
            remembers_steps=has_immediate,
            timeout=settings.store_timeout,
        )
        self._commits: list[GroupCommit[Any, Any]] = [self.recorder]
        names = (name for each in protocols for name in each.protocol.names)
        self.kit = Kit.of(settings, self.database, self.senders, outbox, listeners, names)
        of_listeners = partial(read_backlog, self.database, self._inbox, [listener.key for listener in listeners])
        self.backlog = Cached(partial(of_listeners, settings.retention_megabytes))
        self.is_writable = Cached(partial(self._is_writable, attempts=False))
        self.is_deliverable = Cached(partial(self._is_writable, attempts=True))
        hooks = hooks or ProcessHooks(())
        self._periodic = PeriodicTasks(
            self.kit, outbox, protocols, end_process, intervals or Intervals(), ExtensionMetrics(hooks.hooks)
        )
        by_key = listeners_by_key(listeners)
        self.readiness = Readiness({key: listener.extension for key, listener in by_key.items()})
        self._workers = WorkerMaker(
            self.kit,
            listeners,
            protocols,
            targets,
            self._inbox,
            outbox,
            self.states,
            self.readiness,
            self.find_step,
        )
        self.worker_hooks = WorkerHooks(hooks, self.readiness)
        self._embedded = EmbeddedWorker(
            self._begin_deliveries, settings.grace_period, self.worker_hooks.begin, self.worker_hooks.end
        )

    def group_commit(self, route: GroupedRoute[Any]) -> GroupCommit[Any, Answer | Exception]:
        """Return a new group commit for the requests of a grouped route; ``close`` closes it."""
        commit: GroupCommit[Any, Answer | Exception] = GroupCommit(
            RouteWriter(self.kit, self._outbox, route),
            self._settings.queue_limit,
            timeout=self._settings.store_timeout,
            checks_always=False,  # the recorder does
        )
        self._commits.append(commit)
        return commit

    def start_commits(self, on_writable_change: Callable[[bool], None]) -> None:
        """Start all group commits.

        Args:
            on_writable_change: called with True or False whenever all of them can write or one of them cannot.
        """
        lock = threading.Lock()
        told = True

        def note(_: bool) -> None:
            nonlocal told
            with lock:
                works = all(commit.works for commit in self._commits)
                if works != told:
                    told = works
                    on_writable_change(works)

        for commit in self._commits:
            commit.on_writable_change = note
            commit.start()

    def attach_loop(self, loop: AbstractEventLoop) -> None:
        """Have group commits work for an event loop. Call it in the loop's thread."""
        for commit in self._commits:
            commit.attach_loop(loop)

    @property
    def find_step(self) -> FindStep:
        """Finds the step for ``event.step``."""
        of_filed = partial(find_step, self.database)

        def of_all(run: str, step_id: str) -> bytes | None:
            # In this order: an event is removed from the inbox after it was filed.
            return self._inbox.find_step(run, step_id) or of_filed(run, step_id)

        return of_all if self._remembers_steps else of_filed

    @property
    def keys(self) -> list[str]:
        """Listener keys of the deliveries to the listeners."""
        return [listener.key for listener in self._listeners]

    def log_orphans(self) -> None:
        """Log the waiting deliveries of functions that are not loaded, if any: most often a function was renamed."""
        try:
            with self.database.read() as connection:
                found = orphans(connection, listeners_by_key(self._listeners).keys())
        except StoreError as error:
            logger.debug("Cannot look for deliveries without a function: %s", error)
            return
        if found:
            logger.warning("%s", describe_orphans(found, "which is not loaded here"))

    def check_sessions(self) -> None:
        """Check, before a worker starts, that it can keep the sessions that it needs.

        Raises:
            StoreError: it cannot, and the message names the setting.
        """
        self._workers.check_sessions()

    def worker(self, name: str, alive: Callable[[], None] | None = None) -> "DeliveryWorker":
        """Return a new delivery worker; ``run`` starts it, and ``alive`` gets its signs of life."""
        return self._workers.make(name, alive)

    def _is_writable(self, *, attempts: bool) -> bool:
        try:
            self._inbox.check_writable()
            # Events of agents need no more; requests of grouped routes and deliveries do.
            if attempts or len(self._commits) > 1:
                self._outbox.check_writable(attempts=attempts)
        except StoreError as error:
            logger.debug("Database not writable: %s", error)
            return False
        return True

    def start_periodic_tasks(self) -> None:
        """Start retention, the checks of the database and the tasks of event protocols, until ``close``."""
        self._periodic.start()

    def wanted_names(self, names: Sequence[str]) -> list[str]:
        """Return the event names, of those given, that subscriptions want."""
        with self.database.read() as connection:
            return wanted_names(connection, names)

    def embed_worker(self) -> None:
        """Run a worker in a thread of this process, unless one runs.

        At the end of the process, attempts in progress have the grace period to end.
        """
        self._embedded.start()

    def _begin_deliveries(self) -> "DeliveryWorker":
        worker = self.worker("embedded")
        self.log_orphans()
        self.start_periodic_tasks()
        return worker

    def close(self, timeout: float) -> None:
        """Commit the waiting events, stop an embedded worker and periodic tasks, and close connections.

        All this takes about ``timeout`` seconds at most; longer work goes on without being waited for.
        """
        ends_at = time.monotonic() + timeout
        for close in (*(commit.close for commit in self._commits), self._embedded.stop, self._periodic.stop):
            close(max(ends_at - time.monotonic(), 0))
        self.senders.close()
        self._inbox.close()
        self.database.dispose()


def prepare(database: Database, extensions: Sequence[Tables] = ()) -> None:
    """Migrate a SQLite database; only check one in PostgreSQL, because several machines may use it.

    Raises:
        StoreError: the database cannot be used, or has to be upgraded first.
    """
    upgrade(database, extensions, only_check=not database.is_sqlite)
