"""Hooks: functions of an extension that are called when a process starts and stops.

Others are asked from time to time if the extension is ready, and for its metrics.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from extension_kit.errors import NotReady, RegistrationError
from extension_kit.events.function_loop import FUNCTION_LOOP, Call
from extension_kit.events.functions import name_of, stands_in_class
from extension_kit.events.pending import text_of
from extension_kit.events.unfinished import refuse_unfinished, unfinished_kind

HookKind = Literal["on_start", "on_stop", "is_ready", "metrics"]


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """A function without arguments, plain or async, that was registered with a decorator of an extension.

    Args:
        function: the function.
        extension: the name of its extension.
        kind: the name of the decorator.
    """

    function: Callable[[], object]
    extension: str
    kind: HookKind

    @classmethod
    def of(cls, function: Callable[[], object], extension: str, kind: HookKind) -> "Hook":
        """Make a hook.

        Raises:
            RegistrationError: the function cannot be called without arguments, or is a generator.
        """
        if not callable(function) and not isinstance(function, staticmethod | classmethod):
            raise RegistrationError(f"{kind} takes a function, not {function!r:.80}: write @extension.{kind} above it")
        name = name_of(function)
        if stands_in_class(function):
            raise RegistrationError(
                f"{name} stands in a class, where no object exists yet to call it on: decorate a plain function, or "
                f"register the bound method with extension.{kind}(instance.{name})"
            )
        if unfinished_kind(function) == "yield":
            raise RegistrationError(f"{name} is a generator, which would never run: leave yield out")
        try:
            inspect.signature(function).bind()
        except TypeError:
            raise RegistrationError(f"{name} must take no arguments: {kind} calls it without any") from None
        return cls(function, extension, kind)

    def __str__(self) -> str:
        return f"{self.kind} {name_of(self.function)}"

    def call(self) -> object:
        """Call the function, an async one on the event loop of async listeners, and return the result.

        Raises:
            TypeError: the function returned unfinished work.
        """
        result: Any = self.function()
        if inspect.iscoroutine(result):
            return FUNCTION_LOOP.run(Call(str(self)), result)
        refuse_unfinished(result, name_of(self.function))
        return result


def problem_of(error: BaseException) -> str:
    """Return the reason of an exception that a hook raised."""
    return text_of(error) if isinstance(error, NotReady) else f"{type(error).__name__}: {text_of(error)}"
