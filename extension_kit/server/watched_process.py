"""Watched processes: children of a server that are killed and replaced when they are frozen or hung.

They show that they live by signs in a pipe (``extension_kit.engine.liveness``).
"""

import logging
import os
import subprocess
import time
from collections.abc import Sequence

from extension_kit.engine.liveness import END_OF_SIGN
from extension_kit.server.child_process import ChildProcess, kill

logger = logging.getLogger("extension_kit.server")

_LOOK = 1.5  # seconds of silence, at most, that one look can find: this process may have been frozen since the last
_MOST_READ = 65536  # bytes that a pipe holds
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
        self._unread = b""
        self.reasons: str | None = None
        """The reasons why functions are not ready, of the last sign of life; None before the first."""

    def too_long(self) -> float:
        """Look for signs of life; return the seconds without any once these are too many, else 0."""
        now = time.monotonic()
        if self.hear():
            self._seconds, self._has_begun = 0.0, True
        else:
            self._seconds += min(now - self._looked, _LOOK)
        self._looked = now
        if self._seconds < (self._longest if self._has_begun else max(self._longest, _START)):
            return 0.0
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def hear(self) -> bool:
        """Read the pipe; return True if there is a sign of life."""
        try:
            read = os.read(self._reader, _MOST_READ)
        except BlockingIOError:
            return False
        *signs, self._unread = (self._unread + read).split(END_OF_SIGN)
        self._unread = self._unread[-_MOST_READ:]
        if signs:
            self.reasons = signs[-1].decode(errors="replace")
        return bool(read)

    def close(self) -> None:
        """Close the pipe's reading end."""
        os.close(self._reader)


class WatchedProcess(ChildProcess):
    """Child process that gives signs of life in a pipe, for which ``--liveness-pipe`` and its number are added.

    Args:
        name: of the process in log lines.
        command: the process.
        longest_silence: seconds without a sign of life after which the process is killed and another is started.
        after_kill: the end of the log line when it had to be killed.

    Attributes:
        reasons: why functions are not ready, a line for each; those of the last process until the next one says more.
    """

    def __init__(self, name: str, command: Sequence[str], longest_silence: float, after_kill: str = "") -> None:
        super().__init__(name, command, after_kill)
        self._longest_silence = longest_silence
        self._silence: _Silence
        self.reasons = ""

    def _run(self, *arguments: str, files: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        self._silence = silence = _Silence(self._longest_silence)
        try:
            writer = silence.writer
            return super()._run(*arguments, "--liveness-pipe", str(writer), files=(*files, writer))
        except OSError:
            silence.close()
            raise
        finally:
            os.close(silence.writer)

    def _is_killed(self, process: subprocess.Popen[bytes]) -> bool:
        silent = self._silence.too_long()
        self._take_reasons()
        if not silent:
            return False
        logger.error("%s killed: no sign of life for %.3g s%s", self._name, silent, self._after_kill)
        return kill(process)

    def _forget(self) -> None:
        super()._forget()
        self._silence.hear()
        self._take_reasons()
        self._silence.close()

    def _take_reasons(self) -> None:
        if self._silence.reasons is not None:
            self.reasons = self._silence.reasons
