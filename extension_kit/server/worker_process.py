"""The worker process beside a server's web processes: started, watched, started again, ended with them."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from extension_kit.observability import metrics

logger = logging.getLogger("extension_kit.server")

PART = "deliverer"
"""What the process is to its server, for its metrics."""

_LONGEST_PAUSE = 30.0
_STEADY_AFTER = 60.0  # seconds of running after which an end is no longer counted with those before


class Deliverer:
    """``extension-kit worker`` in a process of its own.

    Args:
        targets: the handler files.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        self._command = [sys.executable, "-m", "extension_kit", "worker", *targets]
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failures = 0
        self._not_before = 0.0
        self._stopped = False

    def keep_running(self) -> None:
        """Start the process if it does not run, after a pause that grows with every time it has ended early.

        One that was stopped is followed by another at once.
        """
        now = time.monotonic()
        if self._process is not None:
            if (code := self._process.poll()) is None:
                return
            self._process = None
            metrics.ended(PART)
            if not self._stopped:
                self._failures = 1 if now - self._started > _STEADY_AFTER else self._failures + 1
                pause = min(2.0 ** (self._failures - 2), _LONGEST_PAUSE) if self._failures > 1 else 0.0
                self._not_before = now + pause
                logger.error("The delivery worker ended (code %s), starting it again in %.3g s", code, pause)
        if now >= self._not_before:
            self._started = now
            self._stopped = False
            # Told its number, because this process may have ended before that one can look for its parent.
            command = [*self._command, "--supervisor", str(os.getpid())]
            self._process = subprocess.Popen(command)  # noqa: S603 (our own command)

    def poll(self) -> None:
        """Learn how the process has ended, if it has: to be called before others wait for any child."""
        if self._process is not None:
            self._process.poll()

    def stop(self) -> None:
        """Ask the process to finish what it does and end."""
        self._stopped = True
        self._failures = 0
        self._not_before = 0.0
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float) -> None:
        """Wait for the end of the process, at most ``timeout`` seconds; then it is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            logger.warning("The delivery worker did not end in time and is killed; its deliveries will be taken over")
            self._process.kill()
            self._process.wait(5)
        metrics.ended(PART)
