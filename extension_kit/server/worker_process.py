"""Worker process beside the web processes: started, watched, restarted and stopped with them.

One that is frozen or hung is killed and replaced. It shows that it lives by bytes in a pipe
(``extension_kit.engine.liveness``). With SQLite nothing else would make its deliveries: a frozen process keeps its
locks.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from extension_kit.observability import metrics

logger = logging.getLogger("extension_kit.server")

METRICS_NAME = "deliverer"
"""Name of the process in the server's metrics files."""

_LONGEST_PAUSE = 30.0
_STEADY_AFTER = 60.0  # seconds of running after which earlier failures are forgotten
_LOOK = 1.5  # seconds of silence, at most, that one look can find: this process may have been frozen since the last
_START = 120.0  # seconds without a sign of life that a process has for loading the handler files
_DEATH = 1.0  # seconds to wait for the end of a killed process


class _Silence:
    """The silence of a child, seen by the reading end of its pipe.

    Args:
        longest: seconds that count as a hang.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._seconds = 0.0
        self._looked = time.monotonic()
        self._has_begun = False

    def too_long(self) -> float:
        """Look for signs of life; return the seconds without any once these are too many, else 0."""
        now = time.monotonic()
        if self._has_heard():
            self._seconds, self._has_begun = 0.0, True
        else:
            self._seconds += min(now - self._looked, _LOOK)
        self._looked = now
        if self._seconds < (self._longest if self._has_begun else max(self._longest, _START)):
            return 0.0
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _has_heard(self) -> bool:
        try:
            return bool(os.read(self._reader, 65536))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Close the pipe's reading end."""
        os.close(self._reader)


class WorkerProcess:
    """Child process that runs ``extension-kit worker``.

    Args:
        targets: the handler files.
        longest_silence: seconds without a sign of life after which the process is killed and another is started.
    """

    def __init__(self, targets: Sequence[str], longest_silence: float) -> None:
        self._command = [sys.executable, "-m", "extension_kit", "worker", *targets]
        self._longest_silence = longest_silence
        self._process: subprocess.Popen[bytes] | None = None
        self._silence: _Silence
        self._started = 0.0
        self._failures = 0
        self._not_before = 0.0
        self._stopped = False

    def keep_running(self) -> None:
        """Start the process if it does not run, and replace it if it is silent. Call it about once a second.

        The pause before a restart doubles with each early end, up to 30 s. A process that was silent, or was ended by
        ``stop``, is replaced at once.
        """
        if self._process is not None:
            if not self._has_ended(self._process):
                return
            self._process = None
            self._silence.close()
            metrics.ended(METRICS_NAME)
        if time.monotonic() >= self._not_before:
            self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        self._stopped = False
        self._silence = silence = _Silence(self._longest_silence)
        # The number is passed on, because this process may have ended before the child can look for its parent.
        command = [*self._command, "--supervisor", str(os.getpid()), "--liveness-pipe", str(silence.writer)]
        try:
            self._process = subprocess.Popen(command, pass_fds=(silence.writer,))  # noqa: S603 (our own command)
        finally:
            os.close(silence.writer)

    def _has_ended(self, process: subprocess.Popen[bytes]) -> bool:
        if (code := process.poll()) is None:
            if not (silent := self._silence.too_long()):
                return False
            logger.error("Delivery worker killed: no sign of life for %.3g s; its deliveries are taken over", silent)
            return _kill(process)
        if not self._stopped:
            now = time.monotonic()
            self._failures = 1 if now - self._started > _STEADY_AFTER else self._failures + 1
            pause = min(2.0 ** (self._failures - 2), _LONGEST_PAUSE) if self._failures > 1 else 0.0
            self._not_before = now + pause
            logger.error("Delivery worker exited (code %s), restarting in %.3g s", code, pause)
        return True

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
            _kill(self._process)
        metrics.ended(METRICS_NAME)


def _kill(process: subprocess.Popen[bytes]) -> bool:
    """Kill a process; return False if it has not ended: the kernel may wait for a disk that does not answer."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_DEATH)
    return process.returncode is not None
