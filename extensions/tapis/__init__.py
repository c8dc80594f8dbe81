"""Tapis Notifications: services publish events, and subscriptions get them in order, by webhook or e-mail."""

from extension_kit import Extension
from extension_kit.protocol import EventProtocol, Task

from .ending import remove_ended
from .events import TapisEvent as TapisEvent
from .notifications import manner
from .routes import routes
from .sequences import go_on
from .settings import TapisSettings
from .tables import TABLES
from .targets import SOURCE

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
        tasks=(Task(2.0, remove_ended), Task(1.0, go_on)),
        manner=manner,
    )
)
