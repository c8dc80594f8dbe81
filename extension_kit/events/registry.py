"""Event listeners, the paths they are reached at, and the registration document that tells agents about them."""

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from extension_kit.errors import RegistrationError
from extension_kit.events.event import Event
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.patterns import PatternIndex, check_pattern

IndexProvider = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""What adds keys such as ``actions`` to the registration document."""

_PATH = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)+")
_RESERVED = ("/health/", "/metrics/", "/openapi.json/")

SUBSCRIPTIONS_PATH = "/events/subscriptions"
"""Where agents send the events that only subscriptions want."""


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """A function and the events it wants."""

    function: Callable[..., object]
    name: str
    names: tuple[str, ...]
    path: str
    restrict_to: str
    immediate: bool
    takes_event: bool
    retry: tuple[float, ...] | None = None
    timeout: float | None = None

    @property
    def key(self) -> str:
        """What its deliveries are kept under: the same in every process and after every restart."""
        module = getattr(self.function, "__module__", "")
        return f"{module}.{getattr(self.function, '__qualname__', self.name)}@{self.path}"

    @classmethod
    def of(
        cls,
        function: Callable[..., object],
        names: tuple[str, ...],
        *,
        path: str | None,
        restrict_to: str,
        immediate: bool,
        retry: tuple[float, ...] | None = None,
        timeout: float | None = None,
    ) -> "Listener":
        """Check what a decorator was given.

        Raises:
            RegistrationError: anything about it cannot work; the message says what to write instead.
        """
        name = getattr(function, "__name__", type(function).__name__)
        if not names:
            raise RegistrationError(f"{name}: name at least one event to listen to, or '*' for all")
        for pattern in names:
            check_pattern(pattern)
        if repeated := {pattern for pattern in names if names.count(pattern) > 1}:
            raise RegistrationError(f"{name}: {', '.join(sorted(repeated))} is named twice")
        if not isinstance(restrict_to, str) or not restrict_to:
            raise RegistrationError(f"{name}: restrict_to is 'leader', 'any' or another text, not {restrict_to!r}")
        takes_event = _takes_event(function, name)
        path = _checked_path(path, name)
        return cls(function, name, names, path, restrict_to, immediate, takes_event, retry, timeout)

    def call(self, event: Event) -> None:
        """Run the function; what it raises is the caller's to handle."""
        if self.takes_event:
            self.function(event)
        else:
            self.function()


def _takes_event(function: Callable[..., object], name: str) -> bool:
    if isinstance(function, staticmethod | classmethod) or _stands_in_class(function):
        raise RegistrationError(
            f"{name} stands in a class, where no object exists yet to call it on: decorate a plain function, or "
            f"register the bound method with extension.listen_to(...)(instance.{name})"
        )
    if not callable(function):
        raise RegistrationError(f"{name} is not a function")
    called = function if inspect.isroutine(function) else getattr(function, "__call__", None)  # noqa: B004
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise RegistrationError(f"{name} is a generator, which would never run: leave yield out")
    if inspect.iscoroutinefunction(called):
        raise RegistrationError(f"{name} is async: write it with def (and call asyncio.run() in it where you need to)")
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


def _stands_in_class(function: Callable[..., object]) -> bool:
    if inspect.ismethod(function):
        return False
    scope = getattr(function, "__qualname__", "").rpartition(".")[0]
    return bool(scope) and not scope.endswith("<locals>")


def _checked_path(path: str | None, name: str) -> str:
    if path is None:
        path = "/events/" + name.strip("_").replace("_", "-")
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


class Route:
    """One path, the listeners behind it, and who of them wants which event."""

    __slots__ = ("for_subscriptions", "index", "listeners", "path", "restrict_to")

    def __init__(self, path: str, restrict_to: str) -> None:
        self.path = path
        self.restrict_to = restrict_to
        self.for_subscriptions = False
        self.listeners: list[Listener] = []
        self.index: PatternIndex[Listener] = PatternIndex()

    def add(self, listener: Listener) -> None:
        for other in self.listeners:
            if other.function == listener.function:
                raise RegistrationError(
                    f"{listener.name} is registered twice at {self.path}: give all event names to one listen_to"
                )
        if self.restrict_to != listener.restrict_to:
            raise RegistrationError(
                f"{listener.name} and {self.listeners[0].name} share {self.path} but one is restricted to "
                f"{listener.restrict_to!r}, the other to {self.restrict_to!r}: agents know one value per path, so give "
                "one of them another path"
            )
        self.listeners.append(listener)
        self.index.add(listener.names, listener)

    def listen_to(self, foreign: PatternIndex[str]) -> list[str]:
        """The names for agents, which know exact names and ``*`` only: patterns become the known names they cover.

        Args:
            foreign: the names of other protocols' events, which agents do not send.
        """
        names = {name for listener in self.listeners for name in listener.names}
        if "*" in names:
            return ["*"]
        known = [name for name in STEADYBIT_EVENT_NAMES if self.index.match(name)]
        others = (name for name in names if "*" not in name and name not in known)
        return known + sorted(name for name in others if not foreign.match(name))


class Registry:
    """All listeners of an extension (or of several served together), and the document made from them."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.providers: list[IndexProvider] = []
        self.foreign: list[str] = []
        """Patterns of the names of other protocols' events, which do not come from agents."""
        self._subscribed: Callable[[], Sequence[str]] = tuple

    def add(self, listener: Listener) -> None:
        """Add a listener.

        Raises:
            RegistrationError: it contradicts one that is there.
        """
        route = self.routes.get(listener.path) or Route(listener.path, listener.restrict_to)
        route.add(listener)
        self.routes[listener.path] = route

    @property
    def listeners(self) -> list[Listener]:
        """Every listener, path by path."""
        return [listener for route in self.routes.values() for listener in route.listeners]

    @classmethod
    def merged(cls, registries: Iterable["Registry"]) -> "Registry":
        """Join registries into one, so that their extensions can be served together.

        Raises:
            RegistrationError: two of them contradict each other.
        """
        merged = cls()
        for registry in registries:
            for listener in registry.listeners:
                merged.add(listener)
            merged.providers.extend(registry.providers)
            merged.foreign.extend(registry.foreign)
        return merged

    def ask_for_subscriptions(self, subscribed: Callable[[], Sequence[str]]) -> None:
        """Ask agents for the events that subscriptions want, too.

        Args:
            subscribed: finds the names that agents can send and subscriptions want.

        Raises:
            RegistrationError: a listener has taken the path for them.
        """
        if SUBSCRIPTIONS_PATH in self.routes:
            name = self.routes[SUBSCRIPTIONS_PATH].listeners[0].name
            raise RegistrationError(f"{name}: {SUBSCRIPTIONS_PATH} is used by the kit itself, choose another path")
        route = self.routes[SUBSCRIPTIONS_PATH] = Route(SUBSCRIPTIONS_PATH, "leader")
        route.for_subscriptions = True
        self._subscribed = subscribed

    def event_listeners(self) -> list[dict[str, Any]]:
        """The list ``eventListeners``, sorted by path, so that every process says the same."""
        foreign = self._foreign()
        return [
            {"method": "POST", "path": path, "listenTo": names, "restrictTo": route.restrict_to}
            for path, route in sorted(self.routes.items())
            if (names := list(self._subscribed()) if route.for_subscriptions else route.listen_to(foreign))
        ]

    def _foreign(self) -> PatternIndex[str]:
        index: PatternIndex[str] = PatternIndex()
        for pattern in self.foreign:
            index.add([pattern], pattern)
        return index

    def document(self) -> dict[str, Any]:
        """The registration document, as an agent gets it from ``GET /`` (Steadybit's Event API, Event Listeners List).

        Raises:
            RegistrationError: two providers give the same key, or one gives ``eventListeners``.
        """
        document: dict[str, Any] = {"eventListeners": self.event_listeners()}
        for provider in self.providers:
            for key, value in (provider() if callable(provider) else provider).items():
                if key in document:
                    raise RegistrationError(
                        f"{key} is given twice for the registration document: by two extension.index(...), or beside "
                        "the event listeners, which the kit lists itself"
                    )
                document[key] = value
        return document

    def serialized(self) -> tuple[bytes, str]:
        """The document as JSON, and its strong ETag: equal in every process that has the same listeners."""
        body = orjson.dumps(self.document(), option=orjson.OPT_APPEND_NEWLINE)
        return body, f'"{sha256(body).hexdigest()[:32]}"'

    def doubts(self) -> list[str]:
        """Sentences about names that no agent is known to send: most often a typo, which would never fire."""
        known = dict.fromkeys(STEADYBIT_EVENT_NAMES)
        foreign = self._foreign()
        found = []
        for listener in self.listeners:
            for name in listener.names:
                if name in known or ("*" in name and _covers_any(name, known)):
                    continue
                near = difflib.get_close_matches(name, known, n=1)
                if not near and (foreign.match(name) or ("*" in name and self.foreign)):
                    continue
                hint = f", did you mean {near[0]}?" if near else ""
                found.append(f"{listener.name} listens to {name}, which no agent is known to send{hint}")
        return found


def _covers_any(pattern: str, names: Iterable[str]) -> bool:
    index: PatternIndex[str] = PatternIndex()
    index.add([pattern], pattern)
    return any(index.match(name) for name in names)
