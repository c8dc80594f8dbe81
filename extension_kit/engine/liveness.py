"""Liveness: the signs of life of a worker, for those that replace one that is frozen or hung.

The scribe's loop gives them, and no thread beside it: a worker of which the scribe hangs makes no deliveries, however
lively the rest of its process is. The supervisor of ``extension-kit serve`` reads them from a pipe
(``extension_kit.server.worker_process``); a worker by itself tells its health port.
"""

import os
import time
from contextlib import suppress

_APART = 1.0  # seconds between two bytes


class Liveness:
    """The signs of life of this process's worker.

    Args:
        longest_silence: seconds after which a silent worker counts as hung.
        pipe: the writing end of the supervisor's pipe, which is not passed on to other programs; None: there is none.
    """

    def __init__(self, longest_silence: float, pipe: int | None = None) -> None:
        self._longest_silence = longest_silence
        self._pipe = pipe
        self._last: float | None = None
        self._written = -_APART
        if pipe is not None:
            os.set_inheritable(pipe, False)
            os.set_blocking(pipe, False)

    def tell(self) -> None:
        """Give a sign of life."""
        self._last = now = time.monotonic()
        if self._pipe is not None and now >= self._written + _APART:
            self._written = now
            with suppress(OSError):  # full, if the supervisor is frozen; closed, if it is gone
                os.write(self._pipe, b".")

    def is_alive(self) -> bool:
        """Return False if the worker has been silent for too long. One that has not begun yet is not silent."""
        return self._last is None or time.monotonic() - self._last < self._longest_silence
