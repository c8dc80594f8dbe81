"""Ready checks: asks the ``is_ready`` functions of extensions every few seconds, each in threads of its own."""

import threading
import time
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue

from extension_kit.deliveries.readiness import Readiness
from extension_kit.events.hooks import Hook, problem_of

_EVERY = 5.0  # seconds from an answer to the next question
_PATIENCE = 10.0  # seconds after which a function without an answer is not ready
_LOOK = 0.2  # seconds


class ReadyChecks:
    """The ``is_ready`` functions of a process that makes deliveries.

    Args:
        hooks: those of all extensions; others are left out.
        readiness: told of the answers.
    """

    def __init__(self, hooks: Iterable[Hook], readiness: Readiness) -> None:
        self._checks = [_Check(hook, readiness) for hook in hooks if hook.kind == "is_ready"]

    def start(self, is_wanted: Callable[[], bool]) -> bool:
        """Ask each function for the first time, and go on in threads; return when all have answered or hang.

        Args:
            is_wanted: called several times a second; False ends the waiting, and the asking.

        Returns:
            False if the start is not wanted any more.
        """
        for check in self._checks:
            check.start()
        for check in self._checks:
            while not check.is_known.wait(_LOOK):
                if not is_wanted():
                    return False
        return True

    def stop(self) -> None:
        """Ask no more."""
        for check in self._checks:
            check.stopped.set()


class _Check:
    """One function, the thread that calls it, and the thread that waits for its answers."""

    def __init__(self, hook: Hook, readiness: Readiness) -> None:
        self._hook = hook
        self._readiness = readiness
        self._questions: SimpleQueue[bool] = SimpleQueue()
        self._answers: SimpleQueue[str | None] = SimpleQueue()
        self.is_known = threading.Event()
        self.stopped = threading.Event()

    def start(self) -> None:
        for run in (self._answer, self._ask):
            threading.Thread(target=run, name=str(self._hook), daemon=True).start()

    def _answer(self) -> None:
        while self._questions.get():
            self._answers.put(_reason(self._hook))

    def _ask(self) -> None:
        while not self.stopped.is_set():
            self._questions.put(True)
            asked = time.monotonic()
            while not self.stopped.is_set():
                try:
                    reason = self._answers.get(timeout=_LOOK)
                except Empty:
                    if time.monotonic() - asked >= _PATIENCE:
                        self._tell(f"is_ready did not return within {_PATIENCE:g} s")
                else:
                    self._tell(reason)
                    break
            self.stopped.wait(_EVERY)
        self._questions.put(False)

    def _tell(self, reason: str | None) -> None:
        self._readiness.tell(self._hook.extension, reason)
        self.is_known.set()


def _reason(hook: Hook) -> str | None:
    """Ask a function; return None if it is ready."""
    try:
        answer = hook.call()
    except BaseException as error:
        return problem_of(error)
    if answer is None or answer is True:
        return None
    if isinstance(answer, str) and answer.strip():
        return answer
    return f"is_ready returned {answer!r:.80}"
