"""For extensions that speak another system's event protocol: what they give to the kit, and what they use of it.

Such an extension has routes, tables and settings of its own, and publishes what comes in as events, which decorated
functions and subscriptions get like those of Steadybit's agents::

    extension = Extension("extension-croneye")
    extension.speak(EventProtocol("croneye", names=("croneye.*",), settings=CronEyeSettings, routes=routes))
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
    """Something that has to be done again and again.

    Every worker does it, in a thread of its own; so it has to bear that others do the same at the same time.

    Args:
        every: seconds between its end and its next beginning.
        run: does it. What it raises is logged.

    Raises:
        RegistrationError: ``every`` is not positive, or ``run`` would not do anything when it is called.
    """

    every: float
    run: Callable[[Host, S], object]

    def __post_init__(self) -> None:
        if not self.every > 0:
            raise RegistrationError(f"a task is done every so many seconds, more than 0, not {self.every!r}")
        if unfinished_kind(self.run):
            raise RegistrationError(
                f"a task is done by a plain function: write {self.run!r:.80} without async and yield"
            )


@dataclass(frozen=True)
class EventProtocol(Generic[S]):
    """How an extension speaks with another system.

    Args:
        source: what its events are from, and what its subscriptions are kept under.
        settings: a frozen dataclass of ``setting(...)`` fields, read from the environment.
        routes: makes its routes, once in every process that serves.
        names: patterns of the names of its events. Agents do not send them, so they are not asked for them.
        event: how functions see its events.
        tables: tables of its own.
        tasks: what has to be done again and again.
        manner: how it delivers to its subscriptions; None where it has no subscriptions.
    """

    source: str
    settings: type[S]
    routes: Callable[[Host, S], Routes]
    names: tuple[str, ...] = ()
    event: type[PublishedEvent] = PublishedEvent
    tables: Tables | None = None
    tasks: tuple[Task[Any], ...] = ()
    manner: Callable[[S], Manner] | None = None
