"""Databases that the event log cannot show: it says why, and goes on when they are there."""

import pytest
from sqlalchemy import text

from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from extension_kit.store.version import LATEST, TABLE
from tests.support.databases import opened
from tests.support.event_log import OPEN, Browser


@pytest.fixture
def empty(url):
    """An empty database on each store; the file of SQLite does not exist yet."""
    with opened(url, upgraded=False) as database:
        yield database


def set_version(database, version):
    with database.transaction() as connection:
        connection.execute(text(f"UPDATE {TABLE} SET version_num = :version"), {"version": version})


def test_there_is_nothing_yet(app_of, empty):
    browser = Browser(app_of(empty, **OPEN))
    page = browser.get("/")
    assert page.status_code == 200
    assert "There is nothing yet" in page.text
    assert "durable listeners" in page.text
    answer = browser.get("/api/x")
    assert (answer.status_code, answer.json["title"]) == (503, "There is nothing yet")
    if empty.is_sqlite:
        assert not empty.path.exists()
    upgrade(empty)
    assert "nothing yet" not in browser.get("/").text


@pytest.mark.parametrize(
    ("version", "problem"),
    [("0001", "run `extension-kit db upgrade`"), ("9999", "this release knows")],
)
def test_tables_of_another_release(app_of, database, version, problem):
    set_version(database, version)
    app = app_of(database, **OPEN)
    page = Browser(app).get("/")
    assert page.status_code == 503
    assert problem in page.text
    answer = Browser(app).get("/api/x")
    assert (answer.status_code, answer.json["title"]) == (503, "The database cannot be used")
    assert problem in answer.json["detail"]
    set_version(database, LATEST)
    assert Browser(app).get("/").status_code == 200


def test_a_database_that_is_away(app_of):
    database = Database("postgresql+psycopg://somebody:hush@127.0.0.1:1/events", timeout=1.0)
    page = Browser(app_of(database, **OPEN)).get("/")
    assert page.status_code == 503
    assert int(page.headers["Retry-After"]) > 0
    assert "127.0.0.1:1" in page.text
    assert "hush" not in page.text


def test_strangers_are_told_nothing_of_it(app_of):
    database = Database("postgresql+psycopg://somebody:hush@127.0.0.1:1/events", timeout=1.0)
    browser = Browser(app_of(database))
    assert browser.get("/").status_code == 303
    assert "127.0.0.1:1" not in browser.get("/login").text


def test_a_view_that_fails_reveals_nothing(app_of, caplog):
    app = app_of(**OPEN)

    def fail():
        raise RuntimeError("hush")

    app.add_url_rule("/fails", "fails", fail)
    app.add_url_rule("/api/fails", "api-fails", fail)
    page, answer = Browser(app).get("/fails"), Browser(app).get("/api/fails")
    assert (page.status_code, answer.status_code) == (500, 500)
    assert "hush" not in page.text + answer.text
    assert "hush" in caplog.text


def test_errors_of_requests(app_of):
    app = app_of(**OPEN)
    app.add_url_rule("/api/only", "only", lambda: "x", methods=["GET"])
    answer = Browser(app).post("/api/only")
    assert (answer.status_code, set(answer.allow)) == (405, {"GET", "HEAD"})
    assert answer.json["title"] == "Method Not Allowed"
    assert Browser(app).get("/nothing").status_code == 404
    large = Browser(app).post("/login", data={"password": 65536 * "x"})
    assert large.status_code == 413
