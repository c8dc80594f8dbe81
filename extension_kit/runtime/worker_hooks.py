"""Worker hooks: the functions that are called before a worker's first delivery, meanwhile, and after its last."""

from collections.abc import Callable

from extension_kit.deliveries.readiness import Readiness
from extension_kit.runtime.process_hooks import ProcessHooks, StartFailed
from extension_kit.runtime.ready_checks import ReadyChecks


class WorkerHooks:
    """The hooks of a process that makes deliveries.

    Args:
        hooks: of the process.
        readiness: told of a start that failed, and of the answers of ``is_ready`` functions.
    """

    def __init__(self, hooks: ProcessHooks, readiness: Readiness) -> None:
        self._hooks = hooks
        self._readiness = readiness
        self._checks = ReadyChecks(hooks.hooks, readiness)

    def begin(self, is_wanted: Callable[[], bool]) -> bool:
        """Call the ``on_start`` functions, and ask the ``is_ready`` functions for the first time.

        Args:
            is_wanted: called several times a second; False ends the waiting.

        Returns:
            True if deliveries may be made. Another call goes on with the function that failed.
        """
        starting = list(dict.fromkeys(hook.extension for hook in self._hooks.hooks if hook.kind == "on_start"))
        if self._hooks.failure is None:
            for extension in starting:
                self._readiness.tell(extension, "on_start has not returned yet", log=False)
        try:
            if not self._hooks.start(self._hooks.extensions, is_wanted):
                return False
        except StartFailed as error:
            self._readiness.tell(error.extension, error.reason, log=False)
            return False
        for extension in starting:
            self._readiness.tell(extension, None, log=False)
        return self._checks.start(is_wanted)

    def end(self, timeout: float) -> None:
        """Ask no more, and call the ``on_stop`` functions for ``timeout`` seconds at most."""
        self._checks.stop()
        self._hooks.stop(timeout)
