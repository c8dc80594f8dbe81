"""Presence: writes the row of a worker every few seconds while it runs, and removes it when it ends."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from sqlalchemy import Connection

from extension_kit.deliveries.worker_rows import EVERY, OpenCircuit, WorkerRow, remove, report
from extension_kit.errors import StoreError
from extension_kit.store import deadline
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.engine")

_SHORT = (
    1.0  # seconds for removing the row, and for a row in a file: the worker waits longer for its lock, and says why
)


class Presence:
    """The row of a worker, written in a thread of its own. A database that is away is no trouble: the row grows old.

    Args:
        database: the database. The row need not survive a power failure, so commits need not wait for the disk.
        threads: the number of threads of the worker.
        busy: returns the number of those in use, from any thread.
        open_circuits: returns the open circuits, from any thread.
    """

    def __init__(
        self,
        database: Database,
        threads: int,
        busy: Callable[[], int],
        open_circuits: Callable[[], Sequence[OpenCircuit]],
    ) -> None:
        self._database, self._limit = database, database.timeout
        if database.is_sqlite:  # the connections of the worker are those of the thread that looks for others' commits
            url = database.url.render_as_string(hide_password=False)
            self._database, self._limit = Database(url, flush=False, timeout=database.timeout), _SHORT
        self._threads = threads
        self._busy = busy
        self._open_circuits = open_circuits
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="delivery-presence", daemon=True)

    def start(self) -> None:
        """Start the thread; it is a daemon."""
        self._thread.start()

    def stop(self) -> None:
        """Remove the row, which takes a second or two at most; after that a row that is left grows old."""
        self._stopped.set()
        self._thread.join(2 * _SHORT)

    def _run(self) -> None:
        host, pid = socket.gethostname(), os.getpid()
        key, started_at = f"{host[:180]}-{pid}-{uuid4().hex}", datetime.now(UTC)

        def write(connection: Connection) -> None:
            circuits = self._open_circuits()
            now = datetime.now(UTC)
            report(connection, WorkerRow(key, host, pid, started_at, now, self._threads, self._busy(), circuits))

        self._try(write, self._limit)
        while not self._stopped.wait(EVERY):
            self._try(write, self._limit)
        self._try(partial(remove, key=key), _SHORT)
        if self._database.is_sqlite:
            self._database.dispose()

    def _try(self, change: Callable[[Connection], None], limit: float) -> None:
        try:
            with deadline.within(limit), self._database.transaction() as connection:
                change(connection)
        except StoreError as error:
            logger.debug("Cannot write the row of this worker: %s", error)
        except Exception:
            logger.exception("Cannot write the row of this worker")
