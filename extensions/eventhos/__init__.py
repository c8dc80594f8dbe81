"""eventhos: any JSON sent as an event calls other systems, as contracts say, in order and with a log of every call."""

from extension_kit import Extension
from extension_kit.protocol import EventProtocol, LogPage, Task

from .apply import apply
from .contract_page import read_contracts
from .document import build_document
from .doubts import find_doubts
from .executing import delivery_format
from .failed_logins import forget_failed_logins
from .key_rotation import encrypt_with_new_key
from .received_event import SOURCE
from .received_event import EventhosEvent as EventhosEvent
from .routes import routes
from .settings import EventhosSettings
from .tables import TABLES
from .upkeep import LostExecutions, remove_old, remove_subscriptions

extension = Extension("extension-eventhos")
extension.add_protocol(
    EventProtocol(
        SOURCE,
        settings=EventhosSettings,
        routes=routes,
        names=("eventhos.*",),
        event=EventhosEvent,
        tables=TABLES,
        delivery_format=delivery_format,
        commands=(apply,),
        document=build_document,
        log_pages=(LogPage("contracts", "Contracts", read_contracts),),
        doubts=find_doubts,
        tasks=(
            Task(60.0, forget_failed_logins),
            Task(60.0, LostExecutions()),
            Task(60.0, encrypt_with_new_key),
            Task(3600.0, remove_old),
            Task(3600.0, remove_subscriptions),
        ),
    )
)
