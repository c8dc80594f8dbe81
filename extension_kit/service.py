"""One or more extensions, put together to be served by one process."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from extension_kit.errors import RegistrationError
from extension_kit.events.credentials import BasicCredentials
from extension_kit.events.pool import Pool
from extension_kit.events.receive import Receiver
from extension_kit.events.registry import Registry
from extension_kit.settings import Settings

if TYPE_CHECKING:
    from extension_kit.durability import Durability


class Described(Protocol):
    """What a service needs to know of an extension."""

    name: str
    version: str
    registry: Registry


@dataclass
class Service:
    """What both edges, Flask and ASGI, need to answer requests."""

    name: str
    version: str
    registry: Registry
    settings: Settings
    durable: bool = True
    durability: "Durability | None" = field(init=False, default=None)
    receiver: Receiver = field(init=False)
    credentials: BasicCredentials | None = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self._try_document()
        durable = [listener for listener in self.registry.listeners if not listener.immediate] if self.durable else []
        if durable:
            # Only now: an extension with immediate listeners does without a database and what speaks to it.
            from extension_kit.durability import Durability

            self.durability = Durability(settings, durable)
        self.receiver = Receiver(
            self.registry,
            settings.validation,
            settings.duplicate_window,
            settings.duplicate_limit,
            self.durability.recorder if self.durability else None,
        )
        self.credentials = (
            BasicCredentials(settings.basic_username, settings.basic_password)
            if settings.basic_username and settings.basic_password
            else None
        )

    def _try_document(self) -> None:
        """Make the registration document once: what is wrong with it is found now, not by the first agent."""
        try:
            self.registry.serialized()
        except RegistrationError:
            raise
        except Exception as error:
            raise RegistrationError(f"extension.index(...): {type(error).__name__}: {error}") from error

    @classmethod
    def of(cls, extensions: Sequence[Described], settings: Settings, *, durable: bool = True) -> "Service":
        """Put extensions together; without ``durable``, every listener is treated as immediate.

        Raises:
            RegistrationError: there is no listener, or two extensions contradict each other.
        """
        registry = Registry.merged(extension.registry for extension in extensions)
        names = " + ".join(extension.name for extension in extensions)
        if not registry.listeners and not registry.providers:
            raise RegistrationError(f"{names} has no listener: decorate a function with @extension.listen_to(...)")
        version = extensions[0].version if len(extensions) == 1 else "unknown"
        return cls(names, version, registry, settings, durable)

    @cached_property
    def pool(self) -> Pool:
        """The threads for functions; made at the first use, so that a forked process has its own."""
        return Pool(self.settings.web_threads, self.settings.queue_limit)
