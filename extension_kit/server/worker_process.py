"""Worker process beside the web processes: started, watched, restarted and stopped with them."""

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
"""Name of the process in the server's metrics files."""

_LONGEST_PAUSE = 30.0
_STEADY_AFTER = 60.0  # seconds of running after which earlier failures are forgotten


class Deliverer:
    """Child process that runs ``extension-kit worker``.

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
        """Start the process if it does not run. The pause before a restart doubles with each early end, up to 30 s.

        A process ended by ``stop`` is replaced at once.
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
                logger.error("Delivery worker exited (code %s), restarting in %.3g s", code, pause)
        if now >= self._not_before:
            self._started = now
            self._stopped = False
            # The number is passed on, because this process may have ended before the child can look for its parent.
            command = [*self._command, "--supervisor", str(os.getpid())]
            self._process = subprocess.Popen(command)  # noqa: S603 (our own command)

    def poll(self) -> None:
        """Reap the process if it has ended. Call it before other code waits for any child."""
        if self._process is not None:
            self._process.poll()

    def stop(self) -> None:
        """Ask the process to finish its attempts and end (SIGTERM)."""
        self._stopped = True
        self._failures = 0
        self._not_before = 0.0
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds for the end of the process, then kill it."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            logger.warning(
                "Delivery worker killed: it did not end within the grace period; its deliveries will be taken over"
            )
            self._process.kill()
            self._process.wait(5)
        metrics.ended(PART)
