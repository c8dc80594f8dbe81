"""Registry of listeners: which functions listen at which path."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from extension_kit.errors import RegistrationError
from extension_kit.events.hooks import Hook
from extension_kit.events.listener import Listener as Listener
from extension_kit.events.patterns import PatternIndex

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
        self.index.add(listener.patterns, listener)


class Registry:
    """The listeners of an extension, or of several served together."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.hooks: list[Hook] = []
        self.providers: list[IndexProvider] = []
        self.other_protocols: list[str] = []
        """Event-name patterns of other protocols, which agents do not send."""
        self.renamed: list[str] = []
        """Warnings about former names that the extension's file uses."""
        self.subscribed_names: Callable[[], Sequence[str]] = tuple
        """Returns the Steadybit event names that subscriptions match."""

    def add(self, listener: Listener) -> None:
        """Add a listener.

        Raises:
            RegistrationError: it contradicts a registered listener.
        """
        route = self.routes.get(listener.path) or Route(listener.path, listener.restrict_to)
        route.add(listener)
        self.routes[listener.path] = route

    def add_hook(self, hook: Hook) -> None:
        """Add a hook.

        Raises:
            RegistrationError: it is the second ``is_ready`` of its extension.
        """
        if hook.kind == "is_ready" and any(other.kind == "is_ready" for other in self.hooks):
            raise RegistrationError(f"{hook.extension} has two functions for is_ready: ask both questions in one")
        self.hooks.append(hook)

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
            merged.hooks.extend(registry.hooks)
            merged.providers.extend(registry.providers)
            merged.other_protocols.extend(registry.other_protocols)
            merged.renamed.extend(registry.renamed)
        return merged

    def include_subscriptions(self, subscribed: Callable[[], Sequence[str]]) -> None:
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
        self.subscribed_names = subscribed
