"""Context of the pages: the settings, the database and the extensions that they show."""

from dataclasses import dataclass, field

from extension_kit.event_log.shared_pages import SharedPages
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database


@dataclass(frozen=True)
class EventLog:
    """Everything that the pages share.

    Attributes:
        settings: the kit's settings.
        database: with ``settings.store_timeout``; pages read in short transactions.
        service: the extensions named on the command line, not opened; None without any.
        pages: shared by viewers of the same page.
    """

    settings: Settings
    database: Database
    service: Service | None = None
    pages: SharedPages = field(default_factory=SharedPages)
