"""Notifications: PostgreSQL tells a worker of new deliveries and of events to file, on a connection of its own."""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import closing

import psycopg

from extension_kit.errors import StoreError
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.engine")

_CHECK = 10.0  # seconds without a notification, after which the server is checked
_STEP = 1.0  # seconds after which a stop is seen
_PAUSE = 1.0  # seconds after a lost connection


class Notifications:
    """A thread that waits for notifications.

    Args:
        database: the database, by a URL with which a session can be kept.
        tell: by channel, called with each notification, and after each connection, because some may have been missed.
    """

    def __init__(self, database: Database, tell: Mapping[str, Callable[[], None]]) -> None:
        self._database = database
        self._tell = tell
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread; it is a daemon."""
        threading.Thread(target=self._run, name="delivery-notifications", daemon=True).start()

    def stop(self) -> None:
        """Let the thread end."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except (psycopg.Error, StoreError) as error:
                logger.debug("Notifications interrupted: %s", error)
                self._stopped.wait(_PAUSE)

    def _listen(self) -> None:
        with closing(self._database.open_session()) as driver:
            driver.autocommit = True
            for channel, tell in self._tell.items():
                driver.execute(f"LISTEN {channel}".encode())
                tell()
            silent = 0.0
            while not self._stopped.is_set():
                heard = list(driver.notifies(timeout=_STEP, stop_after=1))
                silent = 0.0 if heard else silent + _STEP
                if heard:
                    for channel in {each.channel for each in heard}:
                        self._tell[channel]()
                elif silent >= _CHECK:
                    silent = 0.0
                    driver.execute("SELECT 1")
