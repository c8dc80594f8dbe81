"""Pages that protocols declare for the event log: wrong ones are refused when they are declared or made."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from extension_kit.errors import RegistrationError
from extension_kit.protocol import EventProtocol, Link, LogPage, LogTable, Status, TimeBar, TimeBars

TEN = datetime(2026, 11, 21, 10, tzinfo=UTC)
NAIVE = TEN.replace(tzinfo=None)


@dataclass(frozen=True)
class NoSettings:
    """There are none."""


def read(connection, settings, before, limit):
    return LogTable(("A",), [])


def declare(*pages, source="door", **more):
    return EventProtocol(source, NoSettings, lambda *_: None, log_pages=pages, **more)


class TestPages:
    def test_are_declared_with_the_protocol(self):
        pages = LogPage("jobs", "Jobs", read), LogPage("old-jobs-2", "Old jobs", read)
        assert declare(*pages).log_pages == pages
        assert EventProtocol("a door", NoSettings, lambda *_: None).log_pages == ()

    @pytest.mark.parametrize("name", ["", "Jobs", "all jobs", "a/b", "../a", "-a", "a-", "a--b", "ä", "a" * 65, "a\n"])
    def test_a_name_is_a_part_of_a_path(self, name):
        with pytest.raises(RegistrationError, match="small letters, digits and hyphens"):
            LogPage(name, "Jobs", read)

    @pytest.mark.parametrize("title", ["", " "])
    def test_a_title_is_not_empty(self, title):
        with pytest.raises(RegistrationError, match=r"^the page jobs of the event log has no title$"):
            LogPage("jobs", title, read)

    def test_names_are_unique(self):
        page = LogPage("jobs", "Jobs", read)
        with pytest.raises(RegistrationError, match=r"^two pages of door in the event log are called jobs$"):
            declare(page, LogPage("bells", "Bells", read), page)

    @pytest.mark.parametrize("source", ["a door", "a/b", "Door", ""])
    def test_the_source_is_a_part_of_the_path(self, source):
        with pytest.raises(RegistrationError, match="has a source of small letters"):
            declare(LogPage("jobs", "Jobs", read), source=source)

    def test_functions_are_plain(self):
        async def later(*arguments):
            return None

        def several(*arguments):
            yield

        for function in (later, several):
            with pytest.raises(RegistrationError, match="without async and yield"):
                LogPage("jobs", "Jobs", function)
            with pytest.raises(RegistrationError, match="without async and yield"):
                declare(log_facts=function)


class TestTables:
    @pytest.mark.parametrize(
        ("columns", "rows", "more", "problem"),
        [
            ((), [], {}, "a table has columns"),
            (("A", ""), [], {}, "a table has columns"),
            (("A", "B"), [("a",)], {}, "a row has 1 cells, and the table 2 columns"),
            (("A",), [(NAIVE,)], {}, "a time has an offset"),
            (("A",), [], {"period": (NAIVE, TEN)}, "a time has an offset"),
            (("A",), [], {"period": (TEN, TEN)}, "ends after its begin"),
            (("A",), [], {"next": ""}, "1 to 500 characters"),
            (("A",), [], {"next": "a" * 501}, "1 to 500 characters"),
            (("A",), [], {"next": "a\x00"}, "1 to 500 characters"),
        ],
    )
    def test_are_complete(self, columns, rows, more, problem):
        with pytest.raises(ValueError, match=problem):
            LogTable(columns, rows, **more)

    @pytest.mark.parametrize("cell", [True, b"a", ["a"], object()])
    def test_cells_are_of_some_types(self, cell):
        with pytest.raises(TypeError, match="a cell is a text, a number, a time"):
            LogTable(("A",), [(cell,)])

    def test_hold_all_kinds_of_cells(self):
        bars = TimeBars([TimeBar(TEN, None, "running")] * 200)
        cells = ("a", 1, 0.5, TEN, None, Status("failed"), Link("a", "/"), bars)
        assert LogTable("ABCDEFGH", [cells]).rows == [cells]


class TestCells:
    @pytest.mark.parametrize("path", ["/", "/events", "/events?source=a%20b&name=c#d", "/protocols/door/jobs"])
    def test_links_lead_to_pages(self, path):
        assert Link("a", path).path == path

    @pytest.mark.parametrize(
        "path",
        ["", "events", "//host", "/\\host", "/\t/host", "https://host/", "javascript:alert(1)", "/a b", "/\n", "/ä"],
    )
    def test_links_lead_nowhere_else(self, path):
        with pytest.raises(ValueError, match="path begins with a single /"):
            Link("a", path)

    @pytest.mark.parametrize("word", ["", " "])
    def test_a_status_has_a_word(self, word):
        with pytest.raises(ValueError, match="a status has a word"):
            Status(word)

    def test_times_of_bars_are_aware(self):
        for times in ((NAIVE, TEN), (TEN, NAIVE), (NAIVE, None)):
            with pytest.raises(ValueError, match="a time has an offset"):
                TimeBar(*times, "failed")

    def test_there_are_a_bounded_number_of_bars(self):
        with pytest.raises(ValueError, match="up to 200 bars, not 201"):
            TimeBars([TimeBar(TEN, None, "running")] * 201)
