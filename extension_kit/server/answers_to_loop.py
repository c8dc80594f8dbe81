"""Answers of functions on their way from function threads to the event loop."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from extension_kit.events.answers import TIMEOUT, Answer
from extension_kit.events.pending import Pending

logger = logging.getLogger("extension_kit.web")


class AnswersToLoop:
    """Passes answers from function threads to the event loop, waking it once for many of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._answers: deque[tuple[Callable[[Answer], None], Answer]] = deque()
        self._woken = False

    async def wait(self, pending: Pending, timeout: float) -> Answer:
        """Wait at most ``timeout`` seconds for an answer; then return ``TIMEOUT``."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        timer = self._loop.call_later(timeout, settle, future, TIMEOUT)
        pending.when_ended(partial(self.pass_on, partial(settle, future)))
        try:
            return await future
        finally:
            timer.cancel()

    def pass_on(self, tell: Callable[[Answer], None], answer: Answer) -> None:
        """Have ``tell`` called with an answer in the loop's thread: at once if this is it, else soon."""
        if threading.get_ident() == self._thread:
            tell(answer)
            return
        self._answers.append((tell, answer))
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._tell_all)
            except RuntimeError:
                logger.debug("Function returned after the server had stopped")

    def _tell_all(self) -> None:
        self._woken = False  # before the queue is emptied: a later answer wakes the loop again
        while self._answers:
            tell, answer = self._answers.popleft()
            tell(answer)


def settle(future: "asyncio.Future[Any]", result: Any) -> None:
    """Set the result of a future, unless it has one."""
    if not future.done():
        future.set_result(result)
