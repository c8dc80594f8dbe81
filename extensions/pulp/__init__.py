"""Pulp 2 event listeners: made over REST, notified by HTTP, e-mail and AMQP of what Pulp servers report."""

from extension_kit import Extension
from extension_kit.protocol import EventProtocol, LogPage, Task

from .document import build_document
from .event_facts import find_facts
from .event_types import PULP_TYPES
from .events import PulpEvent as PulpEvent
from .known_types import renew_types
from .listeners import SOURCE
from .log_page import read_listeners
from .notifications import delivery_format
from .routes import routes
from .settings import PulpSettings
from .tables import TABLES

extension = Extension("extension-pulp")
extension.add_protocol(
    EventProtocol(
        SOURCE,
        settings=PulpSettings,
        routes=routes,
        names=PULP_TYPES,
        event=PulpEvent,
        tables=TABLES,
        tasks=(Task(60.0, renew_types),),
        delivery_format=delivery_format,
        document=build_document,
        log_pages=(LogPage("listeners", "Event listeners", read_listeners),),
        log_facts=find_facts,
    )
)
