"""Event protocols of other systems: the names that extensions import to declare and serve one.

Such an extension has routes, tables and settings of its own, and publishes the requests it receives as events.
Decorated functions and subscriptions get them like the events of Steadybit's agents::

    extension = Extension("extension-croneye")
    extension.add_protocol(EventProtocol("croneye", names=("croneye.*",), settings=CronEyeSettings, routes=routes))
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from extension_kit.deliveries import subscription_groups as subscription_groups
from extension_kit.deliveries import subscriptions as subscriptions
from extension_kit.deliveries.attempt import Due as Due
from extension_kit.deliveries.outbox import Recorded as Recorded
from extension_kit.deliveries.subscription_handlers import Manner as Manner
from extension_kit.deliveries.subscription_handlers import message_id as message_id
from extension_kit.deliveries.subscriptions import Subscription as Subscription
from extension_kit.deliveries.subscriptions import SubscriptionError as SubscriptionError
from extension_kit.errors import RegistrationError
from extension_kit.errors import SettingError as SettingError
from extension_kit.errors import StoreError as StoreError
from extension_kit.errors import StoreUnavailable as StoreUnavailable
from extension_kit.events.foreign_json import ForeignJson as ForeignJson
from extension_kit.events.foreign_json import read_foreign_json as read_foreign_json
from extension_kit.events.published import PublishedEvent as PublishedEvent
from extension_kit.events.schema.guard import OPENAPI_VERSION as OPENAPI_VERSION
from extension_kit.events.schema.guard import json_schema_components as json_schema_components
from extension_kit.events.unfinished import unfinished_kind
from extension_kit.runtime.kit import Host as Host
from extension_kit.runtime.kit import Transaction as Transaction
from extension_kit.senders import Message as Message
from extension_kit.settings.declare import TEXT as TEXT
from extension_kit.settings.declare import Kind as Kind
from extension_kit.settings.declare import one_of as one_of
from extension_kit.settings.declare import seconds as seconds
from extension_kit.settings.declare import setting as setting
from extension_kit.settings.declare import whole_number as whole_number
from extension_kit.store.batches import batches as batches
from extension_kit.store.extension_tables import Tables as Tables
from extension_kit.store.types import NUMBER as NUMBER
from extension_kit.store.types import UtcDateTime as UtcDateTime
from extension_kit.store.types import new_metadata as new_metadata
from extension_kit.web.openapi import to_yaml as to_yaml
from extension_kit.web.protocol_routes import Routes as Routes

S = TypeVar("S")


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
    run: Callable[[Host, S], object]

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
        routes: makes its routes, once in every process that serves.
        names: patterns of the names of its events. Agents do not send them, so the registration document omits them.
        event: the class of its events, as listeners get them.
        tables: tables of its own.
        tasks: periodic tasks.
        manner: makes the delivery format of its subscriptions; None if it has no subscriptions.
    """

    source: str
    settings: type[S]
    routes: Callable[[Host, S], Routes]
    names: tuple[str, ...] = ()
    event: type[PublishedEvent] = PublishedEvent
    tables: Tables | None = None
    tasks: tuple[Task[Any], ...] = ()
    manner: Callable[[S], Manner] | None = None
