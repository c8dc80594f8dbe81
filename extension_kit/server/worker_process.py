"""Worker process beside the web processes: started, watched, restarted and stopped with them.

One that is frozen or hung is killed and replaced. It shows that it lives by bytes in a pipe
(``extension_kit.engine.liveness``). With SQLite nothing else would make its deliveries: a frozen process keeps its
locks.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from extension_kit.observability import metrics
from extension_kit.server.child_process import ChildProcess, kill

logger = logging.getLogger("extension_kit.server")

METRICS_NAME = "deliverer"
"""Name of the process in the server's metrics files."""

_LOOK = 1.5  # seconds of silence, at most, that one look can find: this process may have been frozen since the last
_START = 120.0  # seconds without a sign of life that a process has for loading the handler files


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


class WorkerProcess(ChildProcess):
    """Child process that runs ``extension-kit worker``.

    Args:
        targets: the handler files.
        longest_silence: seconds without a sign of life after which the process is killed and another is started.
    """

    def __init__(self, targets: Sequence[str], longest_silence: float) -> None:
        command = [sys.executable, "-m", "extension_kit", "worker", *targets]
        super().__init__("Delivery worker", command, "; its deliveries will be taken over")
        self._longest_silence = longest_silence
        self._silence: _Silence

    def _start(self) -> subprocess.Popen[bytes]:
        self._silence = silence = _Silence(self._longest_silence)
        try:
            return self._run("--liveness-pipe", str(silence.writer), files=(silence.writer,))
        except OSError:
            silence.close()
            raise
        finally:
            os.close(silence.writer)

    def _is_killed(self, process: subprocess.Popen[bytes]) -> bool:
        if not (silent := self._silence.too_long()):
            return False
        logger.error("Delivery worker killed: no sign of life for %.3g s; its deliveries are taken over", silent)
        return kill(process)

    def _forget(self) -> None:
        super()._forget()
        self._silence.close()
        metrics.ended(METRICS_NAME)
