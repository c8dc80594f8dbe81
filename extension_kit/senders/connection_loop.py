"""Connection loop: the event loop of a sender with an asynchronous library."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class ConnectionLoop:
    """Event loop of connections, in a thread of its own, which starts at the first use. Thread-safe."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Have a coroutine, which has a timeout of its own, run to its end; nobody has to wait for it."""
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="connection-loop", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run a coroutine to its end, from another thread; its exceptions are raised here.

        Args:
            coroutine: has a timeout of its own.
            timeout: seconds after which the loop itself must be at fault.

        Raises:
            TimeoutError: the coroutine has not ended in time.
        """
        future = self.start(coroutine)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise


CONNECTION_LOOP = ConnectionLoop()
"""The loop of this process. It is not closed, as a connection in use may outlive its sender."""
