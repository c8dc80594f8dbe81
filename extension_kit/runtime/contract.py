"""Contract with event protocols: the classes with which an extension declares the protocol of another system."""

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from extension_kit.errors import RegistrationError, RenamedWarning, StoreError
from extension_kit.events.published import PublishedEvent
from extension_kit.events.readable_state import ExtensionState
from extension_kit.events.registry import Registry
from extension_kit.events.unfinished import unfinished_kind
from extension_kit.runtime.log_pages import LogPage, refuse_pages
from extension_kit.settings.declare import read_settings

if TYPE_CHECKING:
    import click
    from _typeshed import DataclassInstance

    # A service with immediate listeners only needs none of them, nor the libraries that they import.
    from flask import Blueprint, Response

    from extension_kit.deliveries.subscription_handlers import DeliveryFormat
    from extension_kit.runtime.grouped_routes import GroupedRoute
    from extension_kit.runtime.kit import Kit
    from extension_kit.store.extension_tables import Tables

logger = logging.getLogger("extension_kit.server")

S = TypeVar("S", bound="DataclassInstance")


@dataclass(frozen=True)
class Routes:
    """The routes of a protocol.

    Args:
        blueprint: the views. They authenticate clients themselves; the kit's user name and password do not apply.
        paths: prefixes of all paths of the protocol, such as ``/croneye/api``.
        answer_error: makes the protocol's own answer to an error under these paths: HTTP errors of werkzeug, such as
            404, 405 and 413, and exceptions of views, which the kit has logged.
        grouped: routes beside those of the blueprint, whose requests are written to the database in groups.

    Raises:
        RegistrationError: a grouped route is not below the paths.
    """

    blueprint: "Blueprint"
    paths: tuple[str, ...]
    answer_error: "Callable[[Exception], Response]"
    grouped: "tuple[GroupedRoute[Any], ...]" = ()

    def __post_init__(self) -> None:
        for route in self.grouped:
            if not self.own(route.path):
                raise RegistrationError(f"the grouped route {route.path} is not below {', '.join(self.paths)}")

    def own(self, path: str) -> bool:
        """Return True if a path belongs to the protocol."""
        return any(path == own or path.startswith(own.rstrip("/") + "/") for own in self.paths)


@dataclass(frozen=True)
class Task(Generic[S]):
    """A periodic task of a protocol.

    Every worker runs it in a thread of its own, so it must be safe to run in several processes at the same time.

    Args:
        every: seconds between the end of a run and the start of the next.
        run: the function. Its exceptions are logged.

    Raises:
        RegistrationError: ``every`` is not positive, or ``run`` is async or a generator.
    """

    every: float
    run: "Callable[[Kit, S], object]"

    def __post_init__(self) -> None:
        if not self.every > 0:
            raise RegistrationError(f"the interval of a task is a positive number of seconds, not {self.every!r}")
        if unfinished_kind(self.run):
            raise RegistrationError(f"a task needs a plain function: write {self.run!r:.80} without async and yield")


@dataclass(frozen=True)
class EventProtocol(Generic[S]):
    """The event protocol of another system, as an extension declares it.

    Args:
        source: the source of its events and the key of its subscriptions, such as ``croneye``.
        settings: a frozen dataclass of ``setting(...)`` fields, read from the environment.
        routes: makes its routes, once in every process that serves; None: its events come by another way.
        names: patterns of the names of its events. Agents do not send them, so the registration document omits them.
        event: the class of its events, as listeners get them.
        tables: tables of its own.
        tasks: periodic tasks.
        delivery_format: makes the delivery format of its subscriptions; None if it has no subscriptions.
        document: makes the OpenAPI document of its routes, which ``make openapi`` writes for ready-made extensions.
        manner: the former name of ``delivery_format``; it takes the settings only.
        commands: commands of the command line, ``extension-kit FILE_OR_MODULE COMMAND``: of click, but no groups. Their
            functions get the kit and the settings before their own parameters.
        doubts: finds, at the start, probable mistakes that are no reason to refuse it, such as a changed key: sentences
            for warnings in the log.
        log_pages: pages of its own in the event log.
        log_facts: finds, in the body of one of its events, facts for its page in the event log: labels with values, of
            which empty ones and None are left out. Texts are shown without recognised secrets.

    Raises:
        RegistrationError: two pages have the same name, the source cannot be part of their paths, or ``log_facts`` is
            async or a generator.
    """

    source: str
    settings: type[S]
    routes: "Callable[[Kit, S], Routes] | None" = None
    names: tuple[str, ...] = ()
    event: type[PublishedEvent] = PublishedEvent
    tables: "Tables | None" = None
    tasks: tuple[Task[Any], ...] = ()
    delivery_format: "Callable[[Kit, S], DeliveryFormat] | None" = None
    document: Callable[[], dict[str, Any]] | None = None
    manner: InitVar["Callable[[S], DeliveryFormat] | None"] = None
    commands: "tuple[click.Command, ...]" = ()
    doubts: "Callable[[Kit, S], Iterable[str]] | None" = None
    log_pages: tuple[LogPage[Any], ...] = ()
    log_facts: Callable[[bytes], Sequence[tuple[str, object]]] | None = None

    def __post_init__(self, manner: "Callable[[S], DeliveryFormat] | None") -> None:
        refuse_pages(self.source, self.log_pages, self.log_facts)
        if manner is not None:
            message = "EventProtocol(manner=...) is called delivery_format=... now, and takes the kit first"
            warnings.warn(message, RenamedWarning, stacklevel=3)
            object.__setattr__(self, "delivery_format", lambda kit, settings: manner(settings))


@dataclass(frozen=True)
class BoundProtocol(Generic[S]):
    """An event protocol with its settings, as one process runs it."""

    protocol: EventProtocol[S]
    settings: S

    @classmethod
    def read(cls, protocol: EventProtocol[S]) -> "BoundProtocol[S]":
        """Read the protocol's settings from the environment.

        Raises:
            SettingError: a setting has a bad value.
        """
        return cls(protocol, read_settings(protocol.settings))

    @property
    def source(self) -> str:
        """The source of the protocol's events."""
        return self.protocol.source

    def make_routes(self, kit: "Kit") -> Routes | None:
        """Make the protocol's routes; None if it has none."""
        make = self.protocol.routes
        return None if make is None else make(kit, self.settings)

    def make_delivery_format(self, kit: "Kit") -> "DeliveryFormat | None":
        """Make the delivery format of the protocol's subscriptions; None if it has no subscriptions."""
        make = self.protocol.delivery_format
        return None if make is None else make(kit, self.settings)

    def find_doubts(self, kit: "Kit") -> list[str]:
        """Find the protocol's doubts, in sentences; none if that fails, which is logged."""
        if (find := self.protocol.doubts) is None:
            return []
        try:
            return list(find(kit, self.settings))
        except StoreError as error:
            logger.debug("Cannot look for mistakes of %s: %s", self.source, error)
        except Exception:
            logger.exception("Cannot look for mistakes of %s", self.source)
        return []


class Declarations(Protocol):
    """The declarations of an extension: name and version, settings, listeners, event protocols, and state."""

    name: str
    version: str
    state: ExtensionState

    @property
    def settings_class(self) -> "type[DataclassInstance] | None":
        """The class of its settings; None if it has none."""

    def make_registry(self) -> Registry:
        """Read its settings anew, and make the registry of its listeners."""

    @property
    def protocols(self) -> Sequence[EventProtocol[Any]]:
        """Event protocols of other systems."""


def settings_classes(extension: Declarations) -> "list[type[DataclassInstance]]":
    """Return the classes of an extension's own settings and of those of its event protocols."""
    own = [] if extension.settings_class is None else [extension.settings_class]
    return [*own, *(protocol.settings for protocol in extension.protocols)]
