"""Event protocols of other systems: the names that extensions import to declare and serve one.

Such an extension has routes, tables and settings of its own, and publishes the requests it receives as events.
Decorated functions and subscriptions get them like the events of Steadybit's agents::

    extension = Extension("extension-croneye")
    extension.add_protocol(EventProtocol("croneye", names=("croneye.*",), settings=CronEyeSettings, routes=routes))
"""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from extension_kit.deliveries import subscription_groups, subscriptions
from extension_kit.deliveries.entries import Recorded
from extension_kit.deliveries.handler import Due
from extension_kit.deliveries.subscription_deliveries import Delivery, DeliveryAttempt, DeliveryStatus
from extension_kit.deliveries.subscription_handlers import DeliveryFormat, message_id
from extension_kit.deliveries.subscriptions import Subscription, SubscriptionError
from extension_kit.deliveries.tables import bounded
from extension_kit.errors import RegistrationError, RenamedWarning, SettingError, StoreError, StoreUnavailable
from extension_kit.events.answers import Answer as RouteAnswer
from extension_kit.events.foreign_json import ForeignJson, read_foreign_json
from extension_kit.events.patterns import EVENT_NAMES, PatternIndex, check_pattern
from extension_kit.events.published import PublishedEvent
from extension_kit.events.schema.camel_case import CamelCase, camel_case
from extension_kit.events.schema.openapi import OPENAPI_VERSION, json_schema_components
from extension_kit.events.times import parse_time
from extension_kit.observability.tracing import as_trace_context
from extension_kit.runtime.basic_auth import BasicCredentials
from extension_kit.runtime.contract import EventProtocol, Routes, Task
from extension_kit.runtime.grouped_routes import GroupedRoute, ReceivedRequest
from extension_kit.runtime.kit import Kit, Transaction
from extension_kit.runtime.log_pages import BadPlace, Cell, Link, LogPage, LogTable, Status, TimeBar, TimeBars
from extension_kit.senders import Message, Outcome
from extension_kit.senders.http_calls import Answer, CallFailed, HttpCalls
from extension_kit.settings.declare import TEXT, TRUE_OR_FALSE, Kind, one_of, seconds, setting, whole_number
from extension_kit.settings.kinds import FILE, MOST_WAITS, NAMES, SCHEDULE, SECRET, SECRETS, URL, Schedule
from extension_kit.store.batches import batches, delete_in_batches
from extension_kit.store.bulk_insert import BulkInsert
from extension_kit.store.bulk_statement import BulkStatement
from extension_kit.store.extension_tables import Tables
from extension_kit.store.lists import IsAnyOf
from extension_kit.store.local_secret import local_secret, refuse_missing_secrets
from extension_kit.store.locks import lock_name
from extension_kit.store.numbers import new_numbers
from extension_kit.store.prepared import PreparedStatement
from extension_kit.store.types import NUMBER, UtcDateTime, driver_time, from_driver_time, new_metadata
from extension_kit.store.upsert import insert_or_ignore, upsert
from extension_kit.web.grouped_routes import received_request
from extension_kit.web.json_body import InvalidBody, NotAnObject, NotJson, load_json, read_json
from extension_kit.web.openapi import to_yaml
from extension_kit.web.openapi_builder import (
    JSON_SCHEMA_DIALECT,
    OpenApiBuilder,
    json_request,
    json_response,
    path_parameters,
    query_parameter,
)
from extension_kit.web.password_tries import TooManyTries, Tries, limit_keys
from extension_kit.web.passwords import PasswordGate, PasswordsBusy, hash_password, verify_password
from extension_kit.web.peer_certificate import PeerCertificate, peer_certificate

if TYPE_CHECKING:
    from extension_kit.outgoing.nats_client import NatsClient, NatsLogin, reason_of_nats
    from extension_kit.store.cipher import Cipher

__all__ = [
    "EVENT_NAMES",
    "FILE",
    "JSON_SCHEMA_DIALECT",
    "MOST_WAITS",
    "NAMES",
    "NUMBER",
    "OPENAPI_VERSION",
    "SCHEDULE",
    "SECRET",
    "SECRETS",
    "TEXT",
    "TRUE_OR_FALSE",
    "URL",
    "Answer",
    "BadPlace",
    "BasicCredentials",
    "BulkInsert",
    "BulkStatement",
    "CallFailed",
    "CamelCase",
    "Cell",
    "Cipher",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryFormat",
    "DeliveryStatus",
    "Due",
    "EventProtocol",
    "ForeignJson",
    "GroupedRoute",
    "HttpCalls",
    "InvalidBody",
    "IsAnyOf",
    "Kind",
    "Kit",
    "Link",
    "LogPage",
    "LogTable",
    "Message",
    "NatsClient",
    "NatsLogin",
    "NotAnObject",
    "NotJson",
    "OpenApiBuilder",
    "Outcome",
    "PasswordGate",
    "PasswordsBusy",
    "PatternIndex",
    "PeerCertificate",
    "PreparedStatement",
    "PublishedEvent",
    "ReceivedRequest",
    "Recorded",
    "RegistrationError",
    "RouteAnswer",
    "Routes",
    "Schedule",
    "SettingError",
    "Status",
    "StoreError",
    "StoreUnavailable",
    "Subscription",
    "SubscriptionError",
    "Tables",
    "Task",
    "TimeBar",
    "TimeBars",
    "TooManyTries",
    "Transaction",
    "Tries",
    "UtcDateTime",
    "as_trace_context",
    "batches",
    "bounded",
    "camel_case",
    "check_pattern",
    "delete_in_batches",
    "driver_time",
    "from_driver_time",
    "hash_password",
    "insert_or_ignore",
    "json_request",
    "json_response",
    "json_schema_components",
    "limit_keys",
    "load_json",
    "local_secret",
    "lock_name",
    "message_id",
    "new_metadata",
    "new_numbers",
    "one_of",
    "parse_time",
    "path_parameters",
    "peer_certificate",
    "query_parameter",
    "read_foreign_json",
    "read_json",
    "reason_of_nats",
    "received_request",
    "refuse_missing_secrets",
    "seconds",
    "setting",
    "subscription_groups",
    "subscriptions",
    "to_yaml",
    "upsert",
    "verify_password",
    "whole_number",
]


def _manner(envelope: Callable[[Due, Subscription], Message], retry: Sequence[float] | None = None) -> DeliveryFormat:
    return DeliveryFormat(envelope, retry)


_OF_NATS = ("NatsClient", "NatsLogin", "reason_of_nats")
_RENAMED: dict[str, tuple[str, object]] = {"Host": ("Kit", Kit), "Manner": ("DeliveryFormat", _manner)}


def __getattr__(name: str) -> object:
    """Return a renamed object by its former name, with a warning; or one that needs a library of an extra."""
    if name == "Cipher":
        from extension_kit.store.cipher import Cipher

        return Cipher
    if name in _OF_NATS:
        from extension_kit.outgoing import nats_client

        return getattr(nats_client, name)
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    now, found = _RENAMED[name]
    warnings.warn(f"extension_kit.protocol.{name} is called {now} now", RenamedWarning, stacklevel=2)
    return found
