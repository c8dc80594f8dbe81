"""The paths that listeners are reached at, and the registration document that tells agents about them."""

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
"""What adds keys such as ``actions`` to the registration document."""

SUBSCRIPTIONS_PATH = "/events/subscriptions"
"""Where agents send the events that only subscriptions want."""


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
            RegistrationError: two providers give the same key, or one gives ``eventListeners`` or no mapping.
        """
        document: dict[str, Any] = {"eventListeners": self.event_listeners()}
        for provider in self.providers:
            provided = provider() if callable(provider) else provider
            refuse_unfinished(provided, "the function")
            if not isinstance(provided, Mapping):
                raise RegistrationError(f"extension.index(...): its function returned {provided!r:.80}, no mapping")
            for key, value in provided.items():
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
