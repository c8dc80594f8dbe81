"""Process hooks: calls the ``on_start`` and ``on_stop`` functions of extensions, each once in a process."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from queue import Empty, SimpleQueue
from typing import Literal

from extension_kit.errors import ExtensionKitError
from extension_kit.events.hooks import Hook, problem_of
from extension_kit.observability.printable import printable
from extension_kit.observability.redaction import beginning

logger = logging.getLogger("extension_kit.extension")

START_TIMEOUT = 30.0
"""Seconds that one ``on_start`` function may take."""

_MOST_CHARACTERS = 500  # of a reason
_LOOK = 0.2  # seconds between two questions if the start is still wanted


class StartFailed(ExtensionKitError):
    """A function registered with ``on_start`` failed.

    Args:
        extension: the name of its extension.
        reason: the function, and how it failed.
    """

    def __init__(self, extension: str, reason: str) -> None:
        super().__init__(f"{extension}: {reason}")
        self.extension = extension
        self.reason = reason


def always() -> bool:
    """Return True: the start goes on."""
    return True


class ProcessHooks:
    """The ``on_start`` and ``on_stop`` functions of a process. Thread-safe.

    Args:
        hooks: of all extensions, in the order of their declarations.

    Attributes:
        hooks: all of them.
        failure: the last failure; None after a start.
        has_started: set when the functions of a start have returned, or if there are none.
    """

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self.hooks = hooks
        self.failure: StartFailed | None = None
        self._starts = [hook for hook in hooks if hook.kind == "on_start"]
        self._stops = [hook for hook in hooks if hook.kind == "on_stop"]
        self._started: set[str] = set()
        self._hanging: dict[Hook, _Call] = {}
        self._lock = threading.Lock()
        self.has_started = threading.Event()
        if not self._starts:
            self.has_started.set()

    @property
    def extensions(self) -> list[str]:
        """The extensions with functions to be called."""
        return list(dict.fromkeys(hook.extension for hook in self.hooks))

    def start(self, extensions: Collection[str], is_wanted: Callable[[], bool] = always) -> bool:
        """Call the ``on_start`` functions of some extensions that have not returned in this process yet.

        Args:
            extensions: the names of the extensions.
            is_wanted: called several times a second; False ends the waiting.

        Returns:
            False if the start is not wanted any more.

        Raises:
            StartFailed: a function raised an exception, or took too long, as was logged; those after it were not
                called. One that took too long is not called again while it runs.
        """
        with self._lock:
            for hook in [each for each in self._starts if each.extension in extensions]:
                call = self._hanging.pop(hook, None) or _Call(hook)
                answer = call.wait(START_TIMEOUT, is_wanted)
                if answer is None:
                    self._hanging[hook] = call  # the next start waits for it, too, instead of calling once more
                if not is_wanted():
                    return False
                if answer is not True:
                    how = f"did not return within {START_TIMEOUT:g} s"
                    if answer is not None:
                        how = f"raised {problem_of(answer)}"
                    self.failure = StartFailed(hook.extension, printable(beginning(f"{hook} {how}", _MOST_CHARACTERS)))
                    logger.error("%s", self.failure)
                    raise self.failure
                self._starts.remove(hook)
            self.failure = None
            self._started |= set(extensions)
            self.has_started.set()
        return True

    def stop(self, timeout: float) -> None:
        """Call the ``on_stop`` functions of the started extensions in reverse order, once in a process.

        Args:
            timeout: seconds for all of them; one that takes longer is left behind.
        """
        ends_at = time.monotonic() + timeout
        with self._lock:
            for hook in reversed([each for each in self._stops if each.extension in self._started]):
                self._stops.remove(hook)
                answer = _Call(hook).wait(ends_at - time.monotonic(), always)
                if answer is None:
                    logger.warning("%s: %s did not return in time, and is left behind", hook.extension, hook)
                elif isinstance(answer, BaseException):
                    logger.error("%s: %s raised %s", hook.extension, hook, problem_of(answer))


class _Call:
    """A call of a hook in a thread: functions may hang."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._answers: SimpleQueue[BaseException | Literal[True]] = SimpleQueue()
        threading.Thread(target=self._run, name=str(hook), daemon=True).start()

    def _run(self) -> None:
        try:
            self._hook.call()
        except BaseException as error:
            self._answers.put(error)
        else:
            self._answers.put(True)

    def wait(self, timeout: float, is_wanted: Callable[[], bool]) -> BaseException | Literal[True] | None:
        """Return True once the function has returned, its exception, or None if it has done neither in time."""
        ends_at = time.monotonic() + timeout
        while is_wanted():
            try:
                return self._answers.get(timeout=max(min(_LOOK, ends_at - time.monotonic()), 0.001))
            except Empty:
                if time.monotonic() >= ends_at:
                    break
        return None
