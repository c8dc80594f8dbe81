"""A page that several people look at is made once in a few seconds, and anew after an action."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from werkzeug.exceptions import ServiceUnavailable

from extension_kit.deliveries.action_rows import REPLAY
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.tables import DEAD
from extension_kit.errors import StoreUnavailable
from extension_kit.event_log import database_state, shared_pages
from extension_kit.event_log.actions import Actions
from extension_kit.event_log.app import ACTIONS, create_app
from extension_kit.event_log.choice import choose
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.shared_pages import SharedPages
from extension_kit.settings.kit import Settings
from tests.support.event_log import OPEN, PASSWORD, PROXY, Browser
from tests.support.recording import change, entry
from tests.support.waiting import wait_until

PAGES = ("/", "/events", "/deliveries", "/deliveries?status=dead", "/receivers", "/runs", "/actions")
VIEWERS = 8


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pages(clock):
    return SharedPages(clock=clock)


class Made:
    """Makes a page, and counts how often."""

    number = 0

    def __call__(self):
        self.number += 1
        return str(self.number).encode()


class TestSharedPages:
    @pytest.mark.parametrize(("took", "shared"), [(0.0, 3.0), (0.125, 5.0), (0.25, 10.0), (9.0, 15.0)])
    def test_is_shared_for_longer_the_longer_it_takes(self, took, shared, pages, clock):
        def make():
            clock.now += took
            return Made()()

        began = clock.now
        pages.get("page", make)
        later = Made()
        clock.now = began + shared - 0.01
        pages.get("page", later)
        assert later.number == 0
        clock.now = began + shared
        pages.get("page", later)
        assert later.number == 1

    def test_is_made_anew_when_it_is_old(self, pages, clock):
        make = Made()
        assert pages.get("a", make) == b"1"
        clock.now += 2.9
        assert pages.get("a", make) == b"1"
        assert pages.get("b", make) == b"2"
        clock.now += 0.1
        assert pages.get("a", make) == b"3"

    def test_is_made_once_for_all_who_ask_meanwhile(self, pages):
        began, go_on, make = threading.Event(), threading.Event(), Made()

        def slowly():
            began.set()
            assert go_on.wait(30)
            return make()

        with ThreadPoolExecutor(VIEWERS) as pool:
            first = pool.submit(pages.get, "a", slowly)
            assert began.wait(30)
            others = [pool.submit(pages.get, "a", slowly) for _ in range(VIEWERS - 1)]
            go_on.set()
            assert {each.result(30) for each in [first, *others]} == {b"1"}
        assert make.number == 1

    def test_is_not_waited_for_longer_than_it_is_shared(self, pages, clock):
        began, go_on = threading.Event(), threading.Event()

        def slowly():
            began.set()
            assert go_on.wait(30)
            return b"old"

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(pages.get, "a", slowly)
            assert began.wait(30)
            clock.now += 3
            assert pages.get("a", Made()) == b"1"
            go_on.set()
            assert first.result(30) == b"old"
        assert pages.get("a", Made()) == b"1"

    def test_is_waited_for_a_limited_time(self, pages, monkeypatch):
        monkeypatch.setattr(shared_pages, "_LONGEST_WAIT", 0.01)
        began, go_on = threading.Event(), threading.Event()

        def slowly():
            began.set()
            assert go_on.wait(30)
            return b"slow"

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(pages.get, "a", slowly)
            assert began.wait(30)
            with pytest.raises(ServiceUnavailable):
                pages.get("a", slowly)
            go_on.set()
            assert first.result(30) == b"slow"

    def test_errors_are_not_kept(self, pages):
        def fail():
            raise StoreUnavailable("away", 1.0)

        with pytest.raises(StoreUnavailable):
            pages.get("a", fail)
        assert pages.get("a", Made()) == b"1"

    def test_what_was_forgotten_while_it_was_made_is_not_kept(self, pages):
        def overtaken():
            pages.forget()
            return b"old"

        assert pages.get("a", overtaken) == b"old"
        assert pages.get("a", Made()) == b"1"

    def test_pages_and_bytes_are_bounded(self, clock):
        pages = SharedPages(most_pages=3, most_bytes=10, clock=clock)
        for key in "abcd":
            pages.get(key, lambda: b"xx")
        assert list(pages._pages) == ["b", "c", "d"]
        pages.get("e", lambda: b"x" * 7)
        assert list(pages._pages) == ["d", "e"]
        pages.get("f", lambda: b"x" * 11)
        assert list(pages._pages) == []
        assert pages._bytes == 0


@contextmanager
def served(database, **settings):
    """The application for a database, and its engine with the statements that it has executed."""
    app = create_app(EventLog(Settings(**{**OPEN, **settings}), database))
    statements = []

    def note(connection, cursor, statement, parameters, context, executemany):
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield app, statements
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
        app.extensions[ACTIONS].stop(10)


def test_many_viewers_cost_as_many_statements_as_one(filled, monkeypatch):
    monkeypatch.setattr(database_state, "_KNOWN", 3600.0)
    with served(filled) as (app, statements):
        Browser(app).get("/actions?first")  # has the version of the tables looked at
        for path in PAGES:
            viewers = [Browser(app, f"192.0.2.{number}") for number in range(VIEWERS)]
            together = threading.Barrier(VIEWERS)

            def look(viewer, path=path, together=together):
                together.wait(30)
                return viewer.get(path)

            statements.clear()
            with ThreadPoolExecutor(VIEWERS) as pool:
                answers = list(pool.map(look, viewers))
            together_took = len(statements)
            assert {answer.status_code for answer in answers} == {200}
            again = viewers[0].get(path, headers={"If-None-Match": answers[0].headers["ETag"]})
            assert again.status_code == 304
            assert len(statements) == together_took
            statements.clear()
            viewers[0].get(path, headers={"HX-Request": "true"})  # a poll has pages of its own
            assert together_took <= len(statements) + 1, path  # portions of a search depend on its pace


def test_each_viewer_has_a_token_of_their_own(filled):
    with served(filled) as (app, _):
        one, other = Browser(app), Browser(app)
        tokens = [each.token("/deliveries") for each in (one, other)]
        assert len(set(tokens)) == 2
        assert one.token("/deliveries") == tokens[0]
        pages = [each.get("/deliveries") for each in (one, other)]
        assert pages[0].headers["ETag"] != pages[1].headers["ETag"]
        assert pages[0].text.replace(tokens[0], "").count("csrf") == pages[1].text.replace(tokens[1], "").count("csrf")


def test_viewers_with_other_rights_have_other_pages(filled):
    with served(filled, event_log_password=PASSWORD, event_log_open="", **PROXY) as (app, _):
        of_proxy, with_password = Browser(app, "10.0.0.1"), Browser(app)
        assert with_password.log_in().status_code == 303
        assert "Log out" in with_password.get("/events").text
        assert "Log out" not in of_proxy.get("/events", headers={"X-Forwarded-User": "ann"}).text


def test_an_action_is_seen_at_once(database):
    Outbox(database).record([entry("1", "oncall.page@/page")])
    change(database, status=DEAD, stage=None, error="no answer")
    with served(database) as (app, _):
        browser = Browser(app)
        csrf = browser.token("/deliveries")
        assert "status dead" in browser.get("/deliveries/1").text
        assert "Resume" not in browser.get("/receivers").text
        form = {"csrf": csrf, "ref": "1", "expected": "1", "confirmed": "1"}
        assert browser.post("/deliveries/replay", data=form).status_code == 303
        wait_until(lambda: "<td>done</td>" in browser.get("/actions").text)
        assert "status dead" not in browser.get("/deliveries/1").text


def test_an_action_tells_of_its_progress_and_its_end(database):
    Outbox(database).record([entry(str(number)) for number in range(600)])
    change(database, status=DEAD, stage=None, error="no answer")
    told = threading.Semaphore(0)
    actions = Actions(database, told.release)
    actions.begin(choose(REPLAY, Filter()), 600, "ada")
    for _ in range(4):  # before the first batch, after two, at the end
        assert told.acquire(timeout=30)
    actions.stop(10)
    assert not told.acquire(blocking=False)


def test_an_error_page_has_a_token_and_no_place_for_one(filled):
    with served(filled, event_log_password=PASSWORD, event_log_open="") as (app, _):
        browser = Browser(app)
        browser.log_in()
        token = browser.token("/deliveries")
        missing = browser.get("/deliveries/99999")
        assert (missing.status_code, token in missing.text) == (404, True)
