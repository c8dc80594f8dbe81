"""Service: one or more extensions, put together to be served by one process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

from extension_kit.errors import RegistrationError
from extension_kit.events.event import FindStep
from extension_kit.events.function_pool import Pool
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.receive import Receiver, Recorder
from extension_kit.events.registry import Registry
from extension_kit.runtime.basic_auth import BasicCredentials
from extension_kit.runtime.cached import Sampled
from extension_kit.settings.declare import declarations, read_settings
from extension_kit.settings.kit import Settings

if TYPE_CHECKING:
    from extension_kit.runtime.durable import Durability


class Described(Protocol):
    """An extension, as far as a service needs it."""

    name: str
    version: str
    registry: Registry

    @property
    def protocols(self) -> Sequence[Any]:
        """The ``EventProtocol`` instances of the extension; the class is in a higher layer."""


@dataclass
class Service:
    """Extensions and settings, as both edges, Flask and ASGI, serve them."""

    name: str
    version: str
    registry: Registry
    settings: Settings
    durable: bool = True
    protocols: Sequence[tuple[Any, Any]] = ()
    """Other systems' event protocols (``EventProtocol``), each with its settings."""
    recorder: Recorder | None = None
    """Takes the events of durable listeners if ``durable`` is False; None: the listeners are treated as immediate."""
    find_step: FindStep | None = None
    """Finds the step for ``event.step`` if ``durable`` is False."""
    durability: "Durability | None" = field(init=False, default=None)
    receiver: Receiver = field(init=False)
    credentials: BasicCredentials | None = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self._try_document()
        # Events published by protocols are delivered to immediate listeners, too.
        delivered_to = [each for each in self.registry.listeners if self.protocols or not each.immediate]
        if self.durable and (delivered_to or self.protocols):
            # Imported here: an extension with immediate listeners only needs neither a database nor its libraries.
            from extension_kit.runtime.durable import Durability

            self.durability = Durability(settings, delivered_to, self.protocols)
            if any(protocol.manner for protocol, _ in self.protocols):
                self.registry.ask_for_subscriptions(_LastKnown(self.durability.wanted_names))
        self.receiver = Receiver(
            self.registry,
            settings.validation,
            settings.duplicate_window,
            settings.duplicate_limit,
            self.durability.recorder if self.durability else self.recorder,
            self.durability.find_step if self.durability else self.find_step,
        )
        self.credentials = (
            BasicCredentials(settings.basic_username, settings.basic_password)
            if settings.basic_username and settings.basic_password
            else None
        )

    def _try_document(self) -> None:
        """Make the registration document once, so that an error is raised now and not for the first agent."""
        try:
            self.registry.serialized()
        except RegistrationError:
            raise
        except Exception as error:
            raise RegistrationError(f"extension.extend_index(...): {type(error).__name__}: {error}") from error

    @classmethod
    def of(
        cls,
        extensions: Sequence[Described],
        settings: Settings,
        *,
        durable: bool = True,
        recorder: Recorder | None = None,
        find_step: FindStep | None = None,
    ) -> "Service":
        """Put extensions together.

        Args:
            extensions: to be served.
            settings: the kit's settings.
            durable: False: use no database, and leave out other systems' event protocols, which need it.
            recorder: without a database, takes the events of durable listeners; None: they are treated as immediate.
            find_step: without a database, finds the step for ``event.step``.

        Raises:
            RegistrationError: there is nothing to serve, or two extensions contradict each other.
            SettingError: a setting of a protocol has a bad value.
        """
        protocols = [(each, read_settings(each.settings)) for extension in extensions for each in extension.protocols]
        sources = [protocol.source for protocol, _ in protocols]
        if repeated := {source for source in sources if sources.count(source) > 1}:
            raise RegistrationError(f"{', '.join(sorted(repeated))} is spoken by two extensions: serve one of them")
        called = [extension.name for extension in extensions]
        if repeated := {name for name in called if called.count(name) > 1}:
            raise RegistrationError(
                f"two extensions are called {', '.join(sorted(repeated))}, and deliveries are kept by that name: give "
                "each one of its own, or name a file once"
            )
        registry = Registry.merged(extension.registry for extension in extensions)
        names = " + ".join(called)
        if not registry.listeners and not registry.providers and not protocols:
            raise RegistrationError(f"{names} has no listener: decorate a function with @extension.listen_to(...)")
        version = extensions[0].version if len(extensions) == 1 else "unknown"
        spoken = protocols if durable else ()
        return cls(names, version, registry, settings, durable, spoken, recorder, find_step)

    @property
    def variables(self) -> set[str]:
        """Environment variables of the protocols' settings."""
        classes = (type(settings) for _, settings in self.protocols)
        return {declaration.variable for each in classes for _, declaration in declarations(each)}

    @property
    def lines(self) -> list[str]:
        """Log lines for the start: one for each listener."""
        return [
            f"Listening at POST {listener.path}: {listener.name}, {'immediate' if listener.immediate else 'durable'}, "
            f"for {', '.join(listener.names)}"
            for listener in self.registry.listeners
        ]

    @cached_property
    def pool(self) -> Pool:
        """Threads for functions; made at the first use, so that a forked process has its own."""
        return Pool(self.settings.web_threads, self.settings.queue_limit)


class _LastKnown:
    """Event names that agents can send and subscriptions want; the last known ones while the database is unavailable.

    Raises:
        StoreError: the database cannot be used at the start.
    """

    def __init__(self, find: Callable[[Sequence[str]], Sequence[str]]) -> None:
        self._sampled = Sampled(partial(find, STEADYBIT_EVENT_NAMES))
        self._names = find(STEADYBIT_EVENT_NAMES)

    def __call__(self) -> Sequence[str]:
        if (found := self._sampled()) is not None:
            self._names = found
        return self._names
