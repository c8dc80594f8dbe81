"""Liveness: the signs of life of a process, for those that replace one that is frozen or hung.

Its main loop gives them, and no thread beside it: a worker of which the scribe hangs makes no deliveries, however
lively the rest of its process is. The supervisor of ``extension-kit serve`` reads them from a pipe
(``extension_kit.server.watched_process``); a worker by itself tells its health port. In the pipe each sign consists of
the reasons why functions are not ready, and of a zero byte.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

END_OF_SIGN = b"\0"
"""The last byte of a sign of life in a pipe."""

_APART = 1.0  # seconds between two signs in a pipe


class Liveness:
    """The signs of life of this process.

    Args:
        longest_silence: seconds after which a silent process counts as hung.
        pipe: the writing end of the supervisor's pipe, which is not passed on to other programs; None: there is none.
        reasons: returns the reasons why functions are not ready, 4,000 bytes at most, so that a pipe takes them whole.
    """

    def __init__(
        self, longest_silence: float, pipe: int | None = None, reasons: Callable[[], Sequence[str]] = tuple
    ) -> None:
        self._longest_silence = longest_silence
        self._pipe = pipe
        self._reasons = reasons
        self._last: float | None = None
        self._written = -_APART
        if pipe is not None:
            os.set_inheritable(pipe, False)
            os.set_blocking(pipe, False)

    def tell(self) -> None:
        """Give a sign of life."""
        self._last = now = time.monotonic()
        if now >= self._written + _APART:
            self._written = now
            self.tell_reasons()

    def tell_reasons(self) -> None:
        """Write a sign of life to the pipe, if there is one, with the reasons of this moment."""
        if self._pipe is not None:
            with suppress(OSError):  # full, if the supervisor is frozen; closed, if it is gone
                os.write(self._pipe, "\n".join(self._reasons()).encode() + END_OF_SIGN)

    def is_alive(self) -> bool:
        """Return False if the process has been silent for too long. One that has not begun yet is not silent."""
        return self._last is None or time.monotonic() - self._last < self._longest_silence
