"""Tables of event protocols: read for their pages and for the API, and checked."""

import logging
from collections import Counter
from typing import Any, NamedTuple

from werkzeug.exceptions import NotFound

from extension_kit.errors import StoreError
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.paging import BadFilter
from extension_kit.runtime.contract import BoundProtocol
from extension_kit.runtime.log_pages import BadPlace, LogPage, LogTable, is_place

logger = logging.getLogger("extension_kit.event_log")


class PageFailed(Exception):
    """A protocol could not read its page; the log has the reason, and the message is for people."""


class _Page(NamedTuple):
    protocol: BoundProtocol[Any]
    page: LogPage[Any]


class ProtocolTables:
    """The tables of the event protocols of an event log.

    Args:
        log: the database, and the extensions with the protocols.
    """

    def __init__(self, log: EventLog) -> None:
        self._database = log.database
        protocols = log.service.protocols if log.service is not None else ()
        self._pages = {
            (bound.source, page.name): _Page(bound, page) for bound in protocols for page in bound.protocol.log_pages
        }

    @property
    def links(self) -> list[tuple[str, str]]:
        """Paths of the pages with their titles; those that two protocols have are followed by the source."""
        titles = Counter(page.title for _, page in self._pages.values())
        return [
            (path_of(source, name), page.title if titles[page.title] == 1 else f"{page.title} ({source})")
            for (source, name), (_, page) in self._pages.items()
        ]

    def title(self, source: str, name: str) -> str:
        """Return the title of a page.

        Raises:
            NotFound: there is no such page.
        """
        return self._find(source, name).page.title

    def read(self, source: str, name: str, before: str | None, limit: int) -> LogTable:
        """Read the table of a page.

        Args:
            source: of the protocol.
            name: of the page.
            before: place of the page in the list; None: the first.
            limit: maximum number of rows.

        Raises:
            NotFound: there is no such page.
            BadFilter: ``before`` is no place in it.
            PageFailed: the protocol has made a mistake.
            StoreError: the database cannot be used.
        """
        bound, page = self._find(source, name)
        if before is not None and not is_place(before):
            raise BadFilter(_NO_PLACE)
        try:
            with self._database.read() as connection:
                return _checked(page.read(connection, bound.settings, before, limit), limit)
        except StoreError:
            raise
        except BadPlace as error:
            raise BadFilter(_NO_PLACE) from error
        except Exception as error:
            logger.exception("The page %s of %s failed", name, source)
            raise PageFailed(_FAILED) from error

    def _find(self, source: str, name: str) -> _Page:
        if (found := self._pages.get((source, name))) is None:
            raise NotFound
        return found


def path_of(source: str, name: str) -> str:
    """Return the path of a page."""
    return f"/protocols/{source}/{name}"


_NO_PLACE = "before is no place in this list: take it from the address of a next page, or leave it out."
_FAILED = "The extension could not read this page. The log of the event log says what went wrong."


def _checked(table: object, limit: int) -> LogTable:
    """Return the result of a protocol's function.

    Raises:
        TypeError: it is no table.
        ValueError: it has more rows than were asked for.
    """
    if not isinstance(table, LogTable):
        raise TypeError(f"a page of the event log returns a LogTable, not {type(table).__name__}")
    if len(table.rows) > limit:
        raise ValueError(f"a page of the event log returns up to {limit} rows, its limit, not {len(table.rows)}")
    return table
