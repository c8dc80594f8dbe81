"""What durable listeners need, put together: the database, the engine, the outbox, and the worker.

Imported only where there is a durable listener, because of what it imports.
"""

import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from extension_kit.deliveries.attempt import Attempts
from extension_kit.deliveries.backlog import read_backlog
from extension_kit.deliveries.functions import function_handlers
from extension_kit.deliveries.group import GroupCommit
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.retention import clean
from extension_kit.deliveries.steps import find_step
from extension_kit.engine.app import Engine
from extension_kit.engine.worker import DeliveryWorker
from extension_kit.errors import StoreError
from extension_kit.events.event import FindStep
from extension_kit.events.registry import Listener
from extension_kit.sampled import Sampled
from extension_kit.settings import Settings
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade

logger = logging.getLogger("extension_kit.deliveries")

_HOUR = 3600.0


class Durability:
    """The durable half of a service, for one process.

    Args:
        settings: where and how.
        listeners: the durable listeners, by which deliveries find their function.

    Raises:
        ConfigurationError: the database's URL cannot be used.
        StoreError: the database cannot be used, or has to be upgraded first.
    """

    def __init__(self, settings: Settings, listeners: Sequence[Listener]) -> None:
        self._settings = settings
        self._listeners = listeners
        self.database = Database(settings.database_url)
        self.engine = Engine(self.database)
        prepare(self.database, self.engine)
        outbox = Outbox(self.database, self.engine)
        self.recorder = GroupCommit(outbox, settings.queue_limit)
        self.backlog = Sampled(partial(read_backlog, self.database))
        self.is_writable = Sampled(outbox.is_writable)
        self._embedded: DeliveryWorker | None = None
        self._embedding = threading.Lock()

    @property
    def find_step(self) -> FindStep:
        """How ``event.step`` finds a step."""
        return partial(find_step, self.database)

    @property
    def keys(self) -> list[str]:
        """What the listeners' deliveries are kept under."""
        return [listener.key for listener in self._listeners]

    def worker(self, name: str) -> DeliveryWorker:
        """Make a worker for deliveries; ``run`` starts it."""
        settings = self._settings
        find = function_handlers(self._listeners, settings.function_timeout, self.find_step)
        return DeliveryWorker(
            self.engine,
            Attempts(self.database, find),
            concurrency=settings.worker_threads,
            stalled_after=settings.stalled_after,
            grace_period=settings.grace_period,
            name=name,
        )

    def keep_house(self) -> None:
        """Remove what is over once an hour, in a thread of its own that ends with the process."""
        settings = self._settings

        def clean_now_and_then() -> None:
            while True:
                try:
                    cleaned = clean(
                        self.database, settings.retention_days, settings.retention_megabytes, datetime.now(UTC)
                    )
                except StoreError as error:
                    logger.warning("Nothing old is removed for now: %s", error)
                else:
                    logger.debug("Removed what is over: %s", cleaned)
                time.sleep(_HOUR)

        threading.Thread(target=clean_now_and_then, name="retention", daemon=True).start()

    def embed_worker(self) -> None:
        """Run a worker in a thread of this process, unless one runs: where nothing else runs one."""
        with self._embedding:
            if self._embedded is not None:
                return
            self._embedded = self.worker("embedded")
            self.keep_house()
        threading.Thread(target=self._embedded.run, name="deliveries", daemon=True).start()
        logger.info("Deliveries are made by a worker in this process")

    def close(self, timeout: float) -> None:
        """Commit what has come in, end an embedded worker, and close connections."""
        self.recorder.close(timeout)
        if self._embedded is not None:
            self._embedded.stop()
        self.database.dispose()


def prepare(database: Database, engine: Engine) -> None:
    """Bring a SQLite database up to date; one in PostgreSQL, which several machines use, only on request.

    Raises:
        StoreError: it cannot be used, or has to be upgraded first.
    """
    upgrade(database, engine.create_tables, only_check=not database.is_sqlite)
