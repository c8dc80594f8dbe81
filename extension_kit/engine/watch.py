"""Deadlines of running attempts, because a handler may never return."""

import logging
import math
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("extension_kit.engine")

_PAUSE = 1.0  # seconds until a failed callback is called again


class Watch:
    """Deadlines: one thread calls each callback with a deadline that passes before ``end``."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[object, tuple[float, Callable[[], None]]] = {}
        self._looks_at = math.inf
        self._closed = False

    def open(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._watch, name="deliveries-watch", daemon=True).start()

    def close(self) -> None:
        """Let the thread end after the last deadline."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def begin(self, seconds: float, late: Callable[[], None]) -> object:
        """Call ``late`` after ``seconds``, unless the returned token is passed to ``end`` before."""
        token, until = object(), time.monotonic() + seconds
        with self._changed:
            self._watched[token] = until, late
            if until < self._looks_at:
                self._changed.notify()
        return token

    def end(self, token: object) -> bool:
        """Cancel a deadline; return False if it has already passed."""
        with self._changed:
            return self._watched.pop(token, None) is not None

    def _watch(self) -> None:
        while (late := self._wait()) is not None:
            for call in late:
                try:
                    call()
                except Exception:  # no thread can be started
                    logger.exception("Cannot start a replacement thread, retrying in %g s", _PAUSE)
                    self.begin(_PAUSE, call)

    def _wait(self) -> list[Callable[[], None]] | None:
        """Wait for the next deadline; return the callbacks that are due, or None at the end."""
        with self._changed:
            while self._watched or not self._closed:
                now = time.monotonic()
                if late := [token for token, (until, _) in self._watched.items() if until <= now]:
                    return [self._watched.pop(token)[1] for token in late]
                self._looks_at = min((until for until, _ in self._watched.values()), default=math.inf)
                self._changed.wait(min(self._looks_at - now, threading.TIMEOUT_MAX))
            return None
