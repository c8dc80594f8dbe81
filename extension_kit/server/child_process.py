"""Child processes of a server: started, restarted after an early end, and stopped with it."""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

logger = logging.getLogger("extension_kit.server")

_LONGEST_PAUSE = 30.0
_STEADY_AFTER = 60.0  # seconds of running after which earlier failures are forgotten
_DEATH = 1.0  # seconds to wait for the end of a killed process
_PARENT_CHECK = 1.0  # seconds


class ChildProcess:
    """One child process, watched by its parent.

    Args:
        name: of the process in log lines.
        command: the process, for which ``--supervisor`` and the number of this process are added.
        after_kill: the end of the log line when it had to be killed.
    """

    def __init__(self, name: str, command: Sequence[str], after_kill: str = "") -> None:
        self._name = name
        self._command = command
        self._after_kill = after_kill
        self._process: subprocess.Popen[bytes] | None = None
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
            self._forget()
        if time.monotonic() >= self._not_before:
            self._started = time.monotonic()
            self._stopped = False
            try:
                self._process = self._start()
            except OSError as error:  # no memory, or too many processes
                self._fail("cannot be started", error.strerror)

    def poll(self) -> None:
        """Reap the process if it has ended. Call it before other code waits for any child."""
        if self._process is not None:
            self._process.poll()

    def stop(self) -> None:
        """Ask the process to finish its work and end (SIGTERM)."""
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
            logger.warning("%s killed: it did not end within the grace period%s", self._name, self._after_kill)
            kill(self._process)
        self._forget()

    def _start(self) -> subprocess.Popen[bytes]:
        return self._run()

    def _run(self, *arguments: str, files: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        """Run the command with further arguments and open files."""
        # The number is passed on, because this process may have ended before the child can look for its parent.
        command = [*self._command, "--supervisor", str(os.getpid()), *arguments]
        return subprocess.Popen(command, pass_fds=files)  # noqa: S603 (our own command)

    def _forget(self) -> None:
        """Forget a process that has ended."""
        self._process = None

    def _is_killed(self, process: subprocess.Popen[bytes]) -> bool:
        """Kill a running process that does nothing any more; return True if it has ended by that."""
        return False

    def _has_ended(self, process: subprocess.Popen[bytes]) -> bool:
        if (code := process.poll()) is None:
            return self._is_killed(process)
        if not self._stopped:
            self._fail("exited", f"code {code}")
        return True

    def _fail(self, how: str, reason: str | None) -> None:
        """Log a failure, and have a pause before the next start."""
        now = time.monotonic()
        self._failures = 1 if now - self._started > _STEADY_AFTER else self._failures + 1
        pause = min(2.0 ** (self._failures - 2), _LONGEST_PAUSE) if self._failures > 1 else 0.0
        self._not_before = now + pause
        logger.error("%s %s (%s), restarting in %.3g s", self._name, how, reason, pause)


def kill(process: subprocess.Popen[bytes]) -> bool:
    """Kill a process; return False if it has not ended: the kernel may wait for a disk that does not answer."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_DEATH)
    return process.returncode is not None


def end_with_parent(supervisor: int) -> None:
    """Have this process end by SIGTERM when its parent has ended.

    Args:
        supervisor: the process id of the parent.
    """

    def watch() -> None:
        while os.getppid() == supervisor:
            time.sleep(_PARENT_CHECK)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


def shorter(grace_period: float) -> float:
    """Return a child's grace period in seconds, leaving its parent time to see its end."""
    return max(grace_period / 2, grace_period - 3.0)
