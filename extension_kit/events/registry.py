"""The registry of listeners: their paths, and the registration document that agents read."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from extension_kit.errors import RegistrationError
from extension_kit.events.listener import Listener as Listener
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.patterns import PatternIndex
from extension_kit.events.unfinished import refuse_unfinished

IndexProvider = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""A mapping of keys such as ``actions`` for the registration document, or a function that returns one."""

SUBSCRIPTIONS_PATH = "/events/subscriptions"
"""The path of events that subscriptions, but no listeners, match."""


class Route:
    """One path, its listeners, and their index by event name."""

    __slots__ = ("for_subscriptions", "index", "listeners", "path", "restrict_to")

    def __init__(self, path: str, restrict_to: str) -> None:
        self.path = path
        self.restrict_to = restrict_to
        self.for_subscriptions = False
        self.listeners: list[Listener] = []
        self.index: PatternIndex[Listener] = PatternIndex()

    def add(self, listener: Listener) -> None:
        if any(other.key == listener.key for other in self.listeners):
            # One of them would get the deliveries of both.
            raise RegistrationError(
                f"{listener.name} is registered twice at {self.path}: give all event names to one listen_to or, where "
                f"these are two functions, the second a name of its own: {listener.under_another_name()}"
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
        """Return ``listenTo`` for agents, which know exact names and ``*`` only: patterns become the names they match.

        Args:
            foreign: the event names of other protocols, which agents do not send.
        """
        names = {name for listener in self.listeners for name in listener.names}
        if "*" in names:
            return ["*"]
        known = [name for name in STEADYBIT_EVENT_NAMES if self.index.match(name)]
        others = (name for name in names if "*" not in name and name not in known)
        return known + sorted(name for name in others if not foreign.match(name))


class Registry:
    """The listeners of an extension, or of several served together, and their registration document."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.providers: list[IndexProvider] = []
        self.foreign: list[str] = []
        """Event-name patterns of other protocols, which agents do not send."""
        self._subscribed: Callable[[], Sequence[str]] = tuple

    def add(self, listener: Listener) -> None:
        """Add a listener.

        Raises:
            RegistrationError: it contradicts a registered listener.
        """
        route = self.routes.get(listener.path) or Route(listener.path, listener.restrict_to)
        route.add(listener)
        self.routes[listener.path] = route

    @property
    def listeners(self) -> list[Listener]:
        """All listeners, path by path."""
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
        """Add the events of subscriptions to the registration document.

        Args:
            subscribed: returns the Steadybit event names that subscriptions match.

        Raises:
            RegistrationError: a listener has the path ``SUBSCRIPTIONS_PATH``.
        """
        if SUBSCRIPTIONS_PATH in self.routes:
            name = self.routes[SUBSCRIPTIONS_PATH].listeners[0].name
            raise RegistrationError(f"{name}: {SUBSCRIPTIONS_PATH} is used by the kit itself, choose another path")
        route = self.routes[SUBSCRIPTIONS_PATH] = Route(SUBSCRIPTIONS_PATH, "leader")
        route.for_subscriptions = True
        self._subscribed = subscribed

    def event_listeners(self) -> list[dict[str, Any]]:
        """Return the list ``eventListeners``, sorted by path, so that it is the same in every process."""
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
        """Return the registration document, the answer to ``GET /`` (Steadybit's Event API, Event Listeners List).

        Raises:
            RegistrationError: two providers return the same key, or one returns ``eventListeners`` or not a mapping.
            TypeError: the function of a provider returned unfinished work, such as a coroutine.
        """
        document: dict[str, Any] = {"eventListeners": self.event_listeners()}
        for provider in self.providers:
            provided = provider() if callable(provider) else provider
            refuse_unfinished(provided, "the function")
            if not isinstance(provided, Mapping):
                raise RegistrationError(f"extend_index(...): the function returned {provided!r:.80}, not a mapping")
            for key, value in provided.items():
                if key in document:
                    raise RegistrationError(
                        f"{key} is given twice for the registration document: by two extend_index(...), or beside "
                        "the event listeners, which the kit lists itself"
                    )
                document[key] = value
        return document

    def serialized(self) -> tuple[bytes, str]:
        """Return the document as JSON and its strong ETag, which is equal in every process with the same listeners."""
        body = orjson.dumps(self.document(), option=orjson.OPT_APPEND_NEWLINE)
        return body, f'"{sha256(body).hexdigest()[:32]}"'

    def doubts(self) -> list[str]:
        """Return a warning for each name that no agent is known to send: most often a typo, which would never match."""
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
