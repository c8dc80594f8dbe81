"""Waits until a database that is gone comes back, and says so in one line."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from procrastinate.exceptions import ConnectorException, UniqueViolation

from extension_kit.store.errors import translate

logger = logging.getLogger("extension_kit.engine")

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # seconds between attempts
_ANSWER_TIMEOUT = 40.0  # seconds; longer than the databases themselves let a query run


class Outages:
    """Asks the database until it answers.

    Args:
        database: its name in the log, without a password.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self._since: float | None = None
        self.failures = 0
        """How often the database has not answered; what it has done then, or undone by crashing, is not known."""
        self._over = asyncio.Event()

    def give_up(self) -> None:
        """Ask once more at most, because the time to end has come."""
        self._over.set()

    async def outlast(self, ask: Callable[[], Awaitable[T]], timeout: float | None = _ANSWER_TIMEOUT) -> T:
        """Return the answer, however long the database is gone.

        Args:
            ask: asks it once.
            timeout: seconds after which a database that does not answer counts as gone.

        Raises:
            ConnectorException, TimeoutError: there is none, and ``give_up`` has been called.
            UniqueViolation: the database is there, and refuses.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                async with asyncio.timeout(timeout):
                    answer = await ask()
            except UniqueViolation:
                raise
            except (ConnectorException, TimeoutError) as error:
                self.failures += 1
                if self._over.is_set():
                    raise
                self._begin(error)
            else:
                self._end()
                return answer
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _begin(self, error: Exception) -> None:
        if self._since is None:
            self._since = time.monotonic()
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            meaning = translate(cause, self._database)
            logger.error("Deliveries wait: %s", meaning or repr(cause))

    def _end(self) -> None:
        if self._since is not None:
            logger.info("Deliveries go on after %.1f s: the database is back", time.monotonic() - self._since)
            self._since = None
