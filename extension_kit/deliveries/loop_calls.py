"""Loop calls: functions called in the thread of an event loop, from any thread."""

import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable


class LoopCalls:
    """Calls functions in an event loop, or at once while there is none."""

    def __init__(self) -> None:
        self._loop: AbstractEventLoop | None = None
        self._thread = 0

    @property
    def is_attached(self) -> bool:
        """True if there is a loop, as far as is known."""
        return self._loop is not None

    def attach(self, loop: AbstractEventLoop) -> None:
        """Use a loop from now on. Call it in the loop's thread."""
        self._thread = threading.get_ident()
        self._loop = loop

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        """Have a function called by the loop, after all calls before; in this thread if there is no loop any more."""
        if (loop := self._loop) is not None:
            try:
                if threading.get_ident() == self._thread:
                    loop.call_soon(function, *arguments)
                else:
                    loop.call_soon_threadsafe(function, *arguments)
            except RuntimeError:  # the loop was closed
                self._loop = None
            else:
                return
        function(*arguments)
