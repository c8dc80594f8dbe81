"""Worker maker: puts the delivery workers of a process together, and the handlers of their deliveries."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from extension_kit.deliveries.attempt_rows import latest
from extension_kit.deliveries.filing import Filing
from extension_kit.deliveries.function_handlers import function_handlers, listeners_by_key
from extension_kit.deliveries.handler import FindHandler, Handler
from extension_kit.deliveries.hung_runs import HungRuns
from extension_kit.deliveries.inbox import Inbox
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.readiness import Readiness
from extension_kit.deliveries.state import States
from extension_kit.deliveries.subscription_handlers import Circuits, target_handlers
from extension_kit.deliveries.subscription_matching import matching, subscription_ref
from extension_kit.deliveries.subscriptions import scopes
from extension_kit.deliveries.target_listeners import target_listener_handlers
from extension_kit.errors import SettingError
from extension_kit.events.event import FindStep
from extension_kit.events.registry import Listener
from extension_kit.runtime.contract import BoundProtocol
from extension_kit.runtime.kit import Kit
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database

if TYPE_CHECKING:
    from extension_kit.engine.worker import DeliveryWorker

_ATTEMPTS_KNOWN = 1000  # read by a starting worker, to know which listeners are quick


class WorkerMaker:
    """Everything that the delivery workers of a process are made of.

    Args:
        kit: the settings, the database and the senders.
        listeners: the listeners that get deliveries.
        protocols: other systems' event protocols, each with its settings.
        targets: the targets of listeners, by listener key.
        inbox: the events that a worker files.
        outbox: gets them.
        states: the states of extensions.
        readiness: of the functions.
        find_step: finds the step for ``event.step``.

    Raises:
        SettingError: the direct URL of the database cannot be used.
    """

    def __init__(
        self,
        kit: Kit,
        listeners: Sequence[Listener],
        protocols: Sequence[BoundProtocol[Any]],
        targets: Mapping[str, dict[str, Any]],
        inbox: Inbox,
        outbox: Outbox,
        states: States,
        readiness: Readiness,
        find_step: FindStep,
    ) -> None:
        self._kit = kit
        self._listeners = listeners
        self._protocols = protocols
        self._targets = targets
        self._inbox = inbox
        self._outbox = outbox
        self._states = states
        self._readiness = readiness
        self._find_step = find_step
        self._circuits = Circuits.make()
        # No flush: a power failure may lose the end of an attempt; the delivery is then repeated (at-least-once).
        settings = kit.settings
        self._unflushed = Database(settings.database_url, flush=False, timeout=settings.store_timeout)
        self._direct = _direct(settings)

    def check_sessions(self) -> None:
        """Check, before a worker starts, that it can keep the sessions that it needs.

        Raises:
            StoreError: it cannot, and the message names the setting.
        """
        from extension_kit.engine.sessions import check_sessions  # imported here, as the worker is

        if not self._unflushed.is_sqlite:
            check_sessions(self._kit.database, self._direct)

    def make(self, name: str, alive: Callable[[], None] | None = None) -> "DeliveryWorker":
        """Return a new delivery worker; ``run`` starts it, and ``alive`` gets its signs of life."""
        # Imported here: most processes only take events.
        from extension_kit.engine.worker import AsyncPool, DeliveryWorker

        settings = self._kit.settings
        async_keys = [key for key, listener in listeners_by_key(self._listeners).items() if listener.is_async]
        limit = settings.worker_async_attempts
        hung_runs = HungRuns(max(limit // 2, 1), end_process)
        return DeliveryWorker(
            self._unflushed,
            self.find_handler(),
            HungRuns(max(settings.worker_threads // 2, 1), end_process),
            threads=settings.worker_threads,
            stalled_after=settings.stalled_after,
            grace_period=settings.grace_period,
            name=name,
            tenants_of=self._tenants_of,
            experience=self._experience,
            alive=alive,
            filing=self._filing(),
            open_circuits=lambda: [*self._readiness.rests(), *self._circuits.open_circuits()],
            readiness=self._readiness,
            unwritten_state=self._states.unwritten,
            async_pool=AsyncPool(async_keys, limit, hung_runs) if async_keys else None,
            sessions=self._direct,
        )

    def find_handler(self) -> FindHandler:
        """Return the finder of handlers for functions and subscriptions."""
        views = {each.source: each.protocol.event for each in self._protocols}
        formats = {each.source: made for each in self._protocols if (made := each.make_delivery_format(self._kit))}
        of_targets = target_listener_handlers(
            self._listeners, self._targets, self._kit.senders, self._circuits, self._find_step, views
        )
        of_function = function_handlers(
            self._listeners, self._kit.settings.function_timeout, self._find_step, views, self._states.make, of_targets
        )
        of_subscription = target_handlers(self._kit.senders, formats=formats, circuits=self._circuits)

        def find(key: str, connection: Connection) -> Handler | None:
            return (of_function if subscription_ref(key) is None else of_subscription)(key, connection)

        return find

    def _filing(self) -> Filing:
        """Return the filing of the inbox. Its commits wait for the disk only where the inbox is another file."""
        if self._inbox.has_own_file:
            return Filing(Inbox(self._unflushed), self._outbox, self._kit.database)
        return Filing(Inbox(self._unflushed), Outbox(self._unflushed, matching), self._unflushed)

    def _experience(self) -> list[tuple[str, float, bool]]:
        with self._unflushed.read() as connection:
            return latest(connection, _ATTEMPTS_KNOWN)

    def _tenants_of(self, listeners: Sequence[str]) -> dict[str, str]:
        with self._unflushed.read() as connection:
            return scopes(connection, listeners)


def end_process() -> None:
    """End this process with SIGTERM; its supervisor starts another."""
    os.kill(os.getpid(), signal.SIGTERM)


def _direct(settings: Settings) -> Database | None:
    """Return the database of the direct URL; None without one.

    Raises:
        SettingError: the URL cannot be used.
    """
    if not settings.database_direct_url:
        return None
    try:
        return Database(settings.database_direct_url, flush=False, timeout=settings.store_timeout)
    except SettingError as error:
        raise SettingError(f"EXTENSION_DATABASE_DIRECT_URL: {error}") from None
