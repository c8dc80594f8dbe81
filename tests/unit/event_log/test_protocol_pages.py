"""Pages of event protocols: tables are shown as text and without secrets; a protocol's mistakes are left to the log."""

import logging
import re
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jsonschema_rs
import pytest
from sqlalchemy import insert, select, text

from extension_kit import Extension
from extension_kit.deliveries.tables import series
from extension_kit.event_log.api_document import build_document
from extension_kit.protocol import (
    TEXT,
    BadPlace,
    EventProtocol,
    Link,
    LogPage,
    LogTable,
    Status,
    TimeBar,
    TimeBars,
    setting,
)
from tests.support.log_clients import log_client

TEN = datetime(2026, 11, 21, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
RING = TimeBars(
    (
        TimeBar(TEN + HOUR / 2, TEN + HOUR * 3 / 4, "failed", "token=hush"),
        TimeBar(TEN + HOUR * 3 / 4, None, "running"),
        TimeBar(TEN - 2 * HOUR, TEN - HOUR, "failed", "before"),
    )
)


@dataclass(frozen=True)
class DoorSettings:
    house: str = setting("EXTENSION_DOOR_HOUSE", "home", TEXT, "Where the door is.")


def read_doors(connection, settings, before, limit):
    number = connection.execute(text("SELECT count(*) FROM events")).scalar_one()
    rows = [(settings.house, number, 0.5, TEN, Status("overdue"), Link("bell", "/events?source=door"), None, RING)]
    columns = ("Door", "Number", "Share", "Since", "State", "Events", "Nothing", "Rings")
    return LogTable(columns, rows, next="next&one", period=(TEN, TEN + HOUR), note=f"behind {before}, up to {limit}")


def extension(source, *pages):
    made = Extension(f"extension-{source}")
    made.add_protocol(EventProtocol(source, DoorSettings, lambda *_: None, log_pages=pages))
    return made


@pytest.fixture
def open_log(database):
    """Open the event log with protocols: ``open_log(extension("door", LogPage(...)))``."""
    with ExitStack() as stack:
        yield lambda *extensions: stack.enter_context(log_client(database, *extensions))


@pytest.fixture
def ask(open_log):
    """Ask for a page that a function reads: ``ask(read, before="2")``."""

    def ask(read, path="/protocols/door/doors", **query):
        return open_log(extension("door", LogPage("doors", "Doors", read))).get(path, query_string=query)

    return ask


def text_of(html):
    return " ".join(re.sub("<[^>]*>", " ", html).split())


class TestPage:
    def test_shows_every_kind_of_cell(self, ask):
        answer = ask(read_doors)
        assert answer.status_code == 200
        html = answer.text
        assert '<th scope="row"><bdi>home</bdi></th>' in html
        assert '<td class="number"><bdi>0</bdi></td><td class="number"><bdi>0.5</bdi></td>' in html
        assert '<time datetime="2026-11-21T10:00:00+00:00">2026-11-21 10:00:00</time>' in html
        assert '<span class="status overdue">overdue</span>' in html
        assert '<a href="/events?source=door"><bdi>bell</bdi></a>' in html
        assert "behind None, up to 50" in text_of(html)

    def test_draws_bars_over_the_period(self, ask):
        html = ask(read_doors).text
        bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)" y="3" width="([\d.]+)" height="14">', html)
        assert bars == [("failed", "500.0", "250.0"), ("running", "750.0", "250.0")]
        assert "<title>2026-11-21 10:30:00 to 2026-11-21 10:45:00, failed: token=***</title>" in html
        assert 'aria-label="2 failed, 1 running"' in html

    def test_leads_to_the_next_page_and_back(self, ask):
        assert 'href="/protocols/door/doors?before=next%26one" rel="next"' in ask(read_doors).text
        second = ask(read_doors, before="next&one")
        assert "behind next&amp;one, up to 50" in second.text
        assert '<a class="button quiet" href="/protocols/door/doors" rel="first">' in second.text

    def test_is_polled_and_answered_with_304_while_nothing_changes(self, open_log):
        client = open_log(extension("door", LogPage("doors", "Doors", read_doors)))
        answer = client.get("/protocols/door/doors?before=2")
        assert 'hx-get="/protocols/door/doors?before=2"' in answer.text
        again = client.get("/protocols/door/doors?before=2", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.text) == (304, "")

    def test_texts_from_outside_stay_text_and_secrets_are_hidden(self, ask):
        hostile = "<script>x</script> \u202e https://me:hush@host/?token=hush Authorization: Bearer hushhushhush"

        def read(connection, settings, before, limit):
            bars = TimeBars((TimeBar(TEN, None, '"><b>', hostile),))
            return LogTable(("<b>",), [(hostile,), (Status('"><b>'),), (Link(hostile, "/"),), (bars,)], note=hostile)

        for path in ("/protocols/door/doors", "/api/protocols/door/doors"):
            shown = ask(read, path).text
            assert "hush" not in shown
        html = ask(read).text
        assert "<script>x" not in html
        assert "<b>" not in html
        assert "\u202e" not in html

    def test_long_texts_are_cut(self, ask):
        shown = ask(lambda *_: LogTable(("A",), [("x" * 1_000_000,)])).text
        assert len(shown) < 10_000

    @pytest.mark.parametrize(("rows", "said"), [([], "There is nothing yet."), ([("a",)], "1 row")])
    def test_says_that_there_is_nothing(self, ask, rows, said):
        assert said in text_of(ask(lambda *_: LogTable(("A",), rows)).text)

    def test_without_a_period_the_bars_fill_the_line(self, ask):
        html = ask(lambda *_: LogTable(("A",), [(RING,)])).text
        assert re.findall(r'<rect [^>]*x="([\d.]+)"', html) == ["909.1", "996.0", "0.0"]


class TestApi:
    def test_sends_the_table(self, ask):
        answer = ask(read_doors, "/api/protocols/door/doors")
        assert answer.content_type == "application/json"
        found = answer.json
        (row,) = found.pop("rows")
        link = {"text": "bell", "path": "/events?source=door"}
        assert row[:7] == ["home", 0, 0.5, "2026-11-21T10:00:00+00:00", "overdue", link, None]
        assert row[7][:2] == [
            {
                "begin": "2026-11-21T10:30:00+00:00",
                "end": "2026-11-21T10:45:00+00:00",
                "state": "failed",
                "label": "token=***",
            },
            {"begin": "2026-11-21T10:45:00+00:00", "end": None, "state": "running", "label": ""},
        ]
        assert found == {
            "columns": ["Door", "Number", "Share", "Since", "State", "Events", "Nothing", "Rings"],
            "next": "next&one",
            "period": ["2026-11-21T10:00:00+00:00", "2026-11-21T11:00:00+00:00"],
            "note": "behind None, up to 50",
        }

    def test_sends_what_its_document_says(self, ask):
        components = build_document()["components"]
        schema = {"$ref": "#/components/schemas/ProtocolTable", "components": components}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        for table in (read_doors, lambda *_: LogTable(("A",), [])):
            assert [each.message for each in validator.iter_errors(ask(table, "/api/protocols/door/doors").json)] == []

    def test_is_answered_with_304_while_nothing_changes(self, open_log):
        client = open_log(extension("door", LogPage("doors", "Doors", read_doors)))
        tag = client.get("/api/protocols/door/doors").headers["ETag"]
        assert client.get("/api/protocols/door/doors", headers={"If-None-Match": tag}).status_code == 304

    def test_takes_no_other_parameter(self, ask):
        assert ask(read_doors, "/api/protocols/door/doors", limit="1").status_code == 400

    def test_errors_are_json(self, ask):
        unknown = ask(read_doors, "/api/protocols/door/windows")
        assert (unknown.status_code, unknown.json["title"]) == (404, "Not found")


def fail(connection, settings, before, limit):
    raise ValueError(f"hush {before}")


class TestMistakes:
    @pytest.mark.parametrize(
        ("read", "reason"),
        [
            (fail, "hush"),
            (lambda *_: [("a",)], "returns a LogTable, not list"),
            (lambda *_: LogTable(("A",), [("a",)] * 51), "up to 50 rows, its limit, not 51"),
            (lambda *_: LogTable(("A",), [(object(),)]), "a cell is a text"),
        ],
        ids=["an exception", "no table", "too many rows", "no cell"],
    )
    def test_are_logged_and_the_page_says_that_it_failed(self, ask, read, reason, caplog):
        with caplog.at_level(logging.WARNING):
            page, api = ask(read), ask(read, "/api/protocols/door/doors")
        assert (page.status_code, api.status_code) == (500, 500)
        assert "could not read this page" in page.text
        assert "could not read this page" in api.json["detail"]
        assert reason in caplog.text
        for answer in (page, api):
            assert reason not in answer.text

    def test_a_page_without_its_table_is_unavailable(self, ask):
        answer = ask(lambda connection, *_: connection.execute(text("SELECT 1 FROM nowhere")))
        assert answer.status_code == 503
        assert "nowhere" not in answer.text

    @pytest.mark.parametrize("before", ["x" * 501, "a\x00b"])
    def test_an_impossible_place_is_refused_before_the_protocol_is_asked(self, ask, before):
        answer = ask(fail, before=before)
        assert answer.status_code == 400
        assert "before is no place in this list" in answer.text

    def test_a_place_that_the_protocol_refuses(self, ask):
        def read(connection, settings, before, limit):
            raise BadPlace

        assert ask(read, before="1").status_code == 400
        assert ask(read, "/api/protocols/door/doors", before="1").status_code == 400

    def test_nothing_can_be_written(self, ask, database):
        def read(connection, settings, before, limit):
            connection.execute(text("DELETE FROM series"))
            return LogTable(("A",), [])

        with database.transaction() as connection:
            connection.execute(insert(series).values(key="a", last_count=1, last_at=TEN))
        assert ask(read).status_code == (200 if database.is_sqlite else 503)
        with database.read() as connection:
            assert len(connection.execute(select(series)).all()) == 1


class TestNavigation:
    def test_leads_to_the_pages_behind_the_kits_own(self, open_log):
        client = open_log(
            extension("door", LogPage("doors", "Doors", read_doors), LogPage("bells", "Bells", read_doors))
        )
        html = client.get("/protocols/door/bells").text
        links = re.findall(
            r'<a href="([^"]+)"( aria-current="page")?>', html.partition("<nav")[2].partition("</nav>")[0]
        )
        assert [path for path, _ in links][-3:] == ["/actions", "/protocols/door/doors", "/protocols/door/bells"]
        assert [path for path, current in links if current] == ["/protocols/door/bells"]

    def test_tells_equal_titles_apart(self, open_log):
        titles = ("Doors", "doors"), ("Own", "own")
        pages = [LogPage(name, title, read_doors) for title, name in titles]
        client = open_log(extension("front", pages[0]), extension("back", *pages))
        nav = client.get("/protocols/back/own").text.partition("<nav")[2].partition("</nav>")[0]
        assert re.findall(r'<a href="(/protocols/[^"]+)"[^>]*>([^<]+)</a>', nav) == [
            ("/protocols/front/doors", "Doors (front)"),
            ("/protocols/back/doors", "Doors (back)"),
            ("/protocols/back/own", "Own"),
        ]

    def test_without_extensions_there_is_none(self, open_log):
        client = open_log()
        assert client.get("/protocols/door/doors").status_code == 404
        assert "/protocols/" not in client.get("/receivers").text

    @pytest.mark.parametrize("path", ["door/windows", "window/doors", "door", "door/doors/more", "door/Doors"])
    def test_other_paths_lead_nowhere(self, ask, path):
        assert ask(read_doors, f"/protocols/{path}").status_code == 404
