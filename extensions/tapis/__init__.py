"""Tapis Notifications: services publish events, and subscriptions get them in order, by webhook or e-mail."""

from extension_kit import Extension
from extension_kit.protocol import EventProtocol, LogPage, Task

from .delivery_targets import SOURCE
from .document import build_document
from .event_facts import find_facts
from .events import TapisEvent as TapisEvent
from .expiry import remove_ended
from .log_pages import read_series, read_subscriptions
from .notifications import delivery_format
from .routes import routes
from .sequences import publish_due
from .settings import TapisSettings
from .tables import TABLES

SERVICES = (
    "actors",
    "apps",
    "authenticator",
    "files",
    "jobs",
    "meta",
    "notifications",
    "pgrest",
    "pods",
    "security",
    "streams",
    "systems",
    "tenants",
    "tokens",
    "workflows",
)
"""The services of Tapis. Agents are not asked for their events. Other services may publish as well."""

extension = Extension("extension-tapis")
extension.add_protocol(
    EventProtocol(
        SOURCE,
        settings=TapisSettings,
        routes=routes,
        names=tuple(f"{service}.*" for service in SERVICES),
        event=TapisEvent,
        tables=TABLES,
        tasks=(Task(2.0, remove_ended), Task(1.0, publish_due)),
        delivery_format=delivery_format,
        document=build_document,
        log_pages=(
            LogPage("series", "Series", read_series),
            LogPage("subscriptions", "Subscriptions", read_subscriptions),
        ),
        log_facts=find_facts,
    )
)
