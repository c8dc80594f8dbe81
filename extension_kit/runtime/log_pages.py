"""Log pages: the pages that an event protocol adds to the event log, as tables without HTML."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from extension_kit.errors import RegistrationError
from extension_kit.events.unfinished import unfinished_kind

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    # A service with immediate listeners only has none of its libraries.
    from sqlalchemy import Connection

S = TypeVar("S", bound="DataclassInstance")

MOST_BARS = 200
"""Bars of one cell at most."""

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_NAME = 64


class BadPlace(ValueError):
    """``before`` is no place in a table: ``read`` raises it, and the page answers 400."""


@dataclass(frozen=True, slots=True)
class Status:
    """A cell with a state, such as ``failed``, which is coloured where the event log knows the word.

    Raises:
        ValueError: there is no word.
    """

    word: str

    def __post_init__(self) -> None:
        if not self.word.strip():
            raise ValueError("a status has a word, such as Status('failed'); a cell without one is None")


@dataclass(frozen=True, slots=True)
class Link:
    """A cell with a link to a page of the event log.

    Args:
        text: the words of the link.
        path: of the page, with its query, quoted as in an address: ``/events?source=croneye``.

    Raises:
        ValueError: the path leads elsewhere.
    """

    text: str
    path: str

    def __post_init__(self) -> None:
        # Browsers take \ for / and leave out tabs and line breaks, so that others might become the name of a host.
        if not re.fullmatch(r"/(?!/)[!-\[\]-~]*", self.path):
            raise ValueError(
                f"a link leads to a page of the event log: its path begins with a single /, and is quoted, which "
                f"{self.path!r:.80} is not"
            )


@dataclass(frozen=True, slots=True)
class TimeBar:
    """A bar of a time line, such as one run of a job.

    Args:
        begin: aware.
        end: aware; None: it goes on.
        state: coloured like a ``Status``.
        label: shown for the bar, beside its times and its state.

    Raises:
        ValueError: a time is naive.
    """

    begin: datetime
    end: datetime | None
    state: str
    label: str = ""

    def __post_init__(self) -> None:
        for time in (self.begin, self.end):
            _refuse_naive(time)


@dataclass(frozen=True, slots=True)
class TimeBars:
    """A cell with bars on one line, over the period of the table.

    Raises:
        ValueError: there are more than ``MOST_BARS``.
    """

    bars: Sequence[TimeBar]

    def __post_init__(self) -> None:
        if len(self.bars) > MOST_BARS:
            raise ValueError(f"a cell has up to {MOST_BARS} bars, not {len(self.bars)}")


Cell = str | int | float | datetime | Status | Link | TimeBars | None
"""A value of a table; datetimes are aware."""


@dataclass(frozen=True)
class LogTable:
    """The content of a page: a table.

    Args:
        columns: names of the columns, not empty.
        rows: the cells of each row, as many as there are columns.
        next: the place of the next page, a text that the page gives to ``read`` as ``before``; None: there is none.
        period: begin and end of the time over which bars are drawn, aware; None: that of all bars.
        note: a sentence above the table.

    Raises:
        ValueError: a row has another number of cells, a time is naive, the period is empty, or ``next`` is longer than
            500 characters.
        TypeError: a cell has another type.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    next: str | None = None
    period: tuple[datetime, datetime] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not self.columns or not all(self.columns):
            raise ValueError("a table has columns, each with a name")
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row has {len(row)} cells, and the table {len(self.columns)} columns")
            for cell in row:
                _refuse_other(cell)
        if self.period is not None:
            for time in self.period:
                _refuse_naive(time)
            if not self.period[0] < self.period[1]:
                raise ValueError("the period of a table ends after its begin")
        if self.next is not None and not is_place(self.next):
            raise ValueError("the place of the next page is a text of 1 to 500 characters, without NUL")


@dataclass(frozen=True)
class LogPage(Generic[S]):
    """A page of a protocol in the event log, at ``/protocols/<source>/<name>``.

    Args:
        name: last part of its path: small letters, digits and hyphens, such as ``jobs``.
        title: in the navigation and above the table.
        read: reads the table: gets a connection, the protocol's settings, the place of the page (None: the first) and
            the maximum number of rows. It reads only, and takes less than 100 ms however large the tables are. It
            raises ``BadPlace`` for a place that it has not made; other exceptions are logged, and the page says so.

    Raises:
        RegistrationError: the name is no such text, there is no title, or ``read`` is async or a generator.
    """

    name: str
    title: str
    read: "Callable[[Connection, S, str | None, int], LogTable]"

    def __post_init__(self) -> None:
        if not _SLUG.fullmatch(self.name) or len(self.name) > _LONGEST_NAME:
            raise RegistrationError(
                f"a page of the event log is named by up to {_LONGEST_NAME} small letters, digits and hyphens, such as "
                f"'jobs', not {self.name!r:.80}"
            )
        if not self.title.strip():
            raise RegistrationError(f"the page {self.name} of the event log has no title")
        if unfinished_kind(self.read):
            raise RegistrationError(
                f"a page of the event log needs a plain function: write {self.read!r:.80} without async and yield"
            )


def refuse_pages(source: str, pages: Sequence[LogPage[Any]], facts: Callable[..., object] | None) -> None:
    """Check the pages and the facts that a protocol declares.

    Raises:
        RegistrationError: two pages have the same name, the source cannot be part of a path, or ``facts`` is async or a
            generator.
    """
    names = [page.name for page in pages]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise RegistrationError(f"two pages of {source} in the event log are called {', '.join(sorted(repeated))}")
    if pages and not _SLUG.fullmatch(source):
        raise RegistrationError(
            "a protocol with pages in the event log has a source of small letters, digits and hyphens, "
            f"not {source!r:.80}"
        )
    if facts is not None and unfinished_kind(facts):
        raise RegistrationError(f"log_facts needs a plain function: write {facts!r:.80} without async and yield")


def _refuse_other(cell: object) -> None:
    """Check a cell.

    Raises:
        TypeError: it has another type than cells have.
        ValueError: it is a naive time.
    """
    # True is an int to Python, but not to people.
    if isinstance(cell, bool) or not isinstance(cell, Cell):
        raise TypeError(f"a cell is a text, a number, a time, a Status, a Link, TimeBars or None, not {cell!r:.80}")
    if isinstance(cell, datetime):
        _refuse_naive(cell)


def is_place(text: str) -> bool:
    """Return True if a text may be the place of a page."""
    return 0 < len(text) <= 500 and "\x00" not in text


def _refuse_naive(time: datetime | None) -> None:
    if time is not None and time.utcoffset() is None:
        raise ValueError(f"a time has an offset, such as that of UTC, which {time!r} lacks")
