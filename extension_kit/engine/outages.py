"""Outages: queries are retried until the database is back, with one log line at each end."""

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
    """Retries queries while the database is unavailable.

    Args:
        database: its name in the log, without a password.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self._since: float | None = None
        self.failures = 0
        """Number of queries without an answer. They may have been executed, and a crash may have undone changes."""
        self._over = asyncio.Event()

    def give_up(self) -> None:
        """Retry at most once more, because the worker stops."""
        self._over.set()

    async def outlast(self, ask: Callable[[], Awaitable[T]], timeout: float | None = _ANSWER_TIMEOUT) -> T:
        """Return the answer of a query, retried for as long as the database is unavailable.

        Args:
            ask: executes the query once.
            timeout: seconds after which a database that does not answer counts as unavailable.

        Raises:
            ConnectorException, TimeoutError: the database is unavailable, and ``give_up`` has been called.
            UniqueViolation: the database refuses the query.
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
            logger.error("Database unavailable, deliveries paused: %s", meaning or repr(cause))

    def _end(self) -> None:
        if self._since is not None:
            logger.info("Deliveries resumed after %.1f s", time.monotonic() - self._since)
            self._since = None
