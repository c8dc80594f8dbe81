"""Event listeners: a function, its event-name patterns, its path and the key of its deliveries."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from extension_kit.errors import RegistrationError
from extension_kit.events.event import Event
from extension_kit.events.functions import name_of, stands_in_class
from extension_kit.events.patterns import check_pattern
from extension_kit.events.unfinished import refuse_unfinished, unfinished_kind

_PATH = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)+")
_NAME = re.compile(r"[A-Za-z0-9._~-]{1,100}")
_RESERVED = ("/health/", "/metrics/", "/openapi.json/")


@dataclass(frozen=True, slots=True, eq=False)
class SenderTarget:
    """Target to which a sender makes the deliveries of a listener.

    Args:
        sender: the name of the sender.
        make: returns the target in the keys of the sender.
    """

    sender: str
    make: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """A function registered for events, with the options given to ``listen_to`` or ``add_target``.

    Args:
        extension: the name of the listener's extension.
        name: the listener's name in the extension: a chosen name or that of the function.
        patterns: event-name patterns.
        takes_event: True if the function takes the event as its argument.
        is_async: True if it is an ``async def`` function.
        retry: the retry schedule in seconds; None for the default one.
        timeout: seconds an attempt may take; None for the default.
        target: the target to which a sender makes the deliveries, of which the function makes the messages; None: the
            function makes the deliveries.
    """

    function: Callable[..., object]
    extension: str
    name: str
    patterns: tuple[str, ...]
    path: str
    restrict_to: str
    immediate: bool
    takes_event: bool
    is_async: bool = False
    retry: tuple[float, ...] | None = None
    timeout: float | None = None
    target: SenderTarget | None = None

    @property
    def key(self) -> str:
        """The key its deliveries are stored under: the same in every process, after restarts and however loaded."""
        return f"{self.extension}.{self.name}@{self.path}"

    @property
    def former_keys(self) -> tuple[str, ...]:
        """The keys of earlier releases: the module, by the name it was loaded by, and the function."""
        qualified = getattr(self.function, "__qualname__", name_of(self.function))
        parts = getattr(self.function, "__module__", "").split(".")
        return tuple(f"{'.'.join(parts[place:])}.{qualified}@{self.path}" for place in range(len(parts)))

    @classmethod
    def of(
        cls,
        function: Callable[..., object],
        patterns: tuple[str, ...],
        *,
        extension: str,
        path: str | None,
        restrict_to: str,
        immediate: bool,
        name: str | None = None,
        retry: tuple[float, ...] | None = None,
        timeout: float | None = None,
        target: SenderTarget | None = None,
    ) -> "Listener":
        """Make a listener from the arguments of ``listen_to`` or ``add_target`` and check them.

        Raises:
            RegistrationError: an argument is wrong or the function cannot be run; the message says how to write it.
        """
        called = name_of(function)
        if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise RegistrationError(
                f"{called}: a listener's name is like 'page-oncall' (letters, digits and . _ ~ -), not {name!r:.80}"
            )
        name = called if name is None else name
        if not patterns:
            raise RegistrationError(f"{name}: name at least one event to listen to, or '*' for all")
        for pattern in patterns:
            if isinstance(pattern, list | tuple | set | frozenset):
                written = ", ".join(map(repr, pattern))
                raise RegistrationError(f"{name}: name the events one after the other: write listen_to({written})")
            check_pattern(pattern)
        if repeated := {pattern for pattern in patterns if patterns.count(pattern) > 1}:
            raise RegistrationError(f"{name}: {', '.join(sorted(repeated))} is named twice")
        if not isinstance(restrict_to, str) or not restrict_to:
            raise RegistrationError(f"{name}: restrict_to is 'leader', 'any' or another text, not {restrict_to!r}")
        takes_event, is_async = _takes_event(function, name), unfinished_kind(function) == "async"
        path = _checked_path(path, name)
        return cls(
            function,
            extension,
            name,
            patterns,
            path,
            restrict_to,
            immediate,
            takes_event,
            is_async,
            retry,
            timeout,
            target,
        )

    def call(self, event: Event) -> object:
        """Run the function and return its result; its exceptions are the caller's to handle.

        An async function runs on the loop of the process.

        Raises:
            TypeError: the function returned unfinished work, such as a coroutine.
        """
        if self.is_async:
            # Imported here: most extensions have no async functions.
            from extension_kit.events.function_loop import FUNCTION_LOOP, Call

            return FUNCTION_LOOP.run(Call(self.name), self.call_async(event))
        result = self.function(event) if self.takes_event else self.function()
        if result is not None:
            refuse_unfinished(result, self.name)
        return result

    async def call_async(self, event: Event) -> object:
        """Run an async function as ``call`` does, on the loop of the caller."""
        result: object = await (self.function(event) if self.takes_event else self.function())  # type: ignore[misc]
        if result is not None:
            refuse_unfinished(result, self.name)
        return result

    def under_another_name(self) -> str:
        """Return the decorator line to write if another listener has the same name and path."""
        head = self.name.strip("_<>").replace("_", "-")
        tail = self.patterns[0].rpartition(".")[2].replace("*", "2")
        given = [*map(repr, self.patterns), f"name={f'{head}-{tail}'!r}"]
        if self.path != _default_path(self.name):
            given.insert(-1, f"path={self.path!r}")
        return f"@extension.listen_to({', '.join(given)})"


def _takes_event(function: Callable[..., object], name: str) -> bool:
    if stands_in_class(function):
        raise RegistrationError(
            f"{name} stands in a class, where no object exists yet to call it on: decorate a plain function, or "
            f"register the bound method with extension.listen_to(...)(instance.{name_of(function)})"
        )
    if not callable(function):
        raise RegistrationError(f"{name} is not a function")
    if unfinished_kind(function) == "yield":
        raise RegistrationError(f"{name} is a generator, which would never run: leave yield out")
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        pass
    else:
        return True
    try:
        inspect.signature(function).bind()
    except TypeError:
        raise RegistrationError(f"{name} must take one argument, the event, or none") from None
    return False


def _default_path(name: str) -> str:
    return "/events/" + name.strip("_").replace("_", "-")


def _checked_path(path: str | None, name: str) -> str:
    if path is None:
        path = _default_path(name)
        if not _PATH.fullmatch(path):
            raise RegistrationError(f"{name} gives no path: name one with path='/events/...'")
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise RegistrationError(
            f"{name}: a path is like '/events/oncall' (letters, digits and . _ ~ - between single slashes), "
            f"not {path!r}"
        )
    if f"{path}/".startswith(_RESERVED):
        raise RegistrationError(f"{name}: {path} is used by the kit itself, choose another path")
    return path
