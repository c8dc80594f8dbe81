"""A connection pooler between the kit and PostgreSQL, which may give each transaction another session."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, text

from extension_kit.deliveries.inbox import Accepted, Inbox
from extension_kit.engine.sessions import check_sessions
from extension_kit.errors import StoreError
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from extension_kit.store.postgresql import PoolerUnfit
from extension_kit.store.prepared import PreparedStatement
from extension_kit.store.session_settings import SessionSettings
from tests.support.databases import opened
from tests.support.poolers import pgbouncer
from tests.support.proxies import proxy

# PgBouncer refuses options of a session, unless it is told to ignore them.
KINDS = {
    "session": {"pool_mode": "session"},
    "transaction": {"pool_mode": "transaction"},
    "ignoring": {"pool_mode": "transaction", "ignore_startup_parameters": "extra_float_digits,options"},
}


@contextmanager
def pooler(kind: str, url: str) -> Iterator[str]:
    """The URL of a database behind PgBouncer, or behind a proxy that only makes up the number in its greeting."""
    if kind == "greeting":
        with proxy(url, pooler=True) as way:
            yield way.url
    else:
        with pgbouncer(url, **KINDS[kind]) as pooled:
            yield pooled


@pytest.fixture(params=["greeting", *KINDS])
def pooled_url(request: pytest.FixtureRequest, used_postgresql_url: str) -> Iterator[str]:
    with pooler(request.param, used_postgresql_url) as url:
        yield url


@pytest.fixture
def pooled(pooled_url: str) -> Iterator[Database]:
    with opened(pooled_url, upgraded=False) as database:
        yield database


def shown(database: Database, setting: str) -> str:
    with database.transaction() as connection:
        return str(connection.execute(text(f"SHOW {setting}")).scalar())


def test_every_transaction_has_the_settings(pooled: Database) -> None:
    expected = {
        "enable_seqscan": "off",
        "jit": "off",
        "statement_timeout": "30s",
        "lock_timeout": "4s",
        "idle_in_transaction_session_timeout": "1min",
        "timezone": "UTC",
        "transaction_isolation": "read committed",
        "application_name": "extension-kit",
    }
    for _ in range(2):
        assert {setting: shown(pooled, setting) for setting in expected} == expected
    assert pooled.is_pooled


def test_settings_of_the_url_come_first(pooled_url: str) -> None:
    url = make_url(pooled_url)
    more = f"{url.query['options']} -c statement_timeout=7s --lock-timeout=1s -cextension_kit.said=it\\ is\\ 'so\\\\"
    longer = url.update_query_dict({"options": more}).render_as_string(hide_password=False)
    with opened(longer, upgraded=False) as database:
        assert shown(database, "statement_timeout") == "7s"
        assert shown(database, "lock_timeout") == "1s"
        assert shown(database, "extension_kit.said") == "it is 'so\\"
        database.check_writable()  # in the schema of the URL


@pytest.mark.parametrize("options", ["-B 100", "-c", "-c work_mem", "-cdrop;table=1", "work_mem=1"])
def test_options_that_are_no_settings_are_refused(options: str) -> None:
    with pytest.raises(PoolerUnfit, match="it can only pass on settings, written -cNAME=VALUE"):
        SessionSettings({}, options).of_transaction()


def test_refused_options_are_told(pooled_url: str) -> None:
    url = make_url(pooled_url).update_query_dict({"options": "-d 0"}).render_as_string(hide_password=False)
    with pytest.raises(StoreError, match="is behind a connection pooler: of the options in the URL, it can only pass"):
        Database(url).check_writable()


def test_others_do_not_get_the_settings(used_postgresql_url: str) -> None:
    with pgbouncer(used_postgresql_url, "transaction", default_pool_size=1) as url:
        plain = make_url(url).set(query={}).render_as_string(hide_password=False)
        with opened(url, upgraded=False) as database, psycopg.connect(plain, autocommit=True) as other:
            numbers = {shown(database, "jit"): database.is_pooled}
            Inbox(database).append([Accepted(b"{}", ())])
            for setting in ("jit", "enable_seqscan", "search_path"):
                row = other.execute(f"SELECT setting = reset_val FROM pg_settings WHERE name = '{setting}'").fetchone()
                assert row == (True,)
            assert numbers == {"off": True}


def test_commits_wait_for_the_disk_unless_they_need_not(pooled_url: str) -> None:
    for flush, expected in ((True, "on"), (False, "off")):
        database = Database(pooled_url, flush=flush)
        assert shown(database, "synchronous_commit") == expected
        database.dispose()


def test_nothing_is_prepared(pooled: Database) -> None:
    statement = PreparedStatement(text("SELECT 1 FROM series WHERE last_count = :number").columns())
    for number in range(20):
        with pooled.transaction() as connection:
            statement.first(connection, number=number)
            connection.execute(text("SELECT :number"), {"number": number})
    with pooled.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar() == 0


def test_reading_sees_one_state_and_writes_nothing(pooled: Database) -> None:
    count = text("SELECT count(*) FROM series")
    add = text("INSERT INTO series (key, last_count, last_at) VALUES ('t/1', 1, now())")
    with pooled.read() as reading:
        before = reading.execute(count).scalar()
        with pooled.transaction() as writing:
            writing.execute(add)
        assert reading.execute(count).scalar() == before
    with pytest.raises(StoreError, match="is read-only"), pooled.read() as reading:
        reading.execute(add)
    with pooled.read() as reading:
        assert reading.execute(count).scalar() == 1


def test_many_rows_are_read_in_parts(pooled: Database) -> None:
    with pooled.read() as connection:
        rows = connection.execution_options(yield_per=10).execute(text("SELECT generate_series(1, 95)"))
        assert sum(len(part) for part in rows.partitions()) == 95


def test_a_failed_transaction_changes_nothing_and_hurts_no_later_one(pooled: Database) -> None:
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero), pooled.transaction() as connection:  # noqa: PT012
            connection.execute(text("INSERT INTO series (key, last_count, last_at) VALUES ('t/1', 1, now())"))
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute("SELECT 1 / 0")
    with pooled.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM series")).scalar() == 0


def test_events_are_accepted_whatever_is_in_them(pooled: Database) -> None:
    body = bytes(range(256)) + b"\\' %s {} ; COMMIT"
    inbox = Inbox(pooled)
    inbox.append([Accepted(body, ("a ' \\ %b",))])
    with pooled.read() as connection:
        assert connection.execute(text("SELECT bodies FROM inbox")).scalar() == body


def test_an_event_that_is_refused_leaves_nothing(pooled: Database) -> None:
    insert = "INSERT INTO inbox (received_at, events, heads, bodies) VALUES (%s, %s, %s, %b)"
    with pytest.raises(psycopg.errors.NotNullViolation):
        pooled.execute_alone(insert, (datetime.now(UTC), None, "[]", b""))
    pooled.execute_alone(insert, (datetime.now(UTC), 1, "[]", b"x"))
    with pooled.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM inbox")).scalar() == 1


@pytest.mark.parametrize("is_pooled", [False, True])
def test_it_takes_as_many_round_trips_as_without_one(used_postgresql_url: str, is_pooled: bool) -> None:
    with proxy(used_postgresql_url, pooler=is_pooled) as way, opened(way.url, upgraded=False) as database:
        inbox = Inbox(database)

        def write() -> None:
            with database.transaction() as connection:
                connection.execute(text("UPDATE series SET last_count = 0"))

        def read() -> None:
            with database.read() as connection:
                connection.execute(text("SELECT count(*) FROM series")).scalar_one()

        found = {}
        for act in (write, read, lambda: inbox.append([Accepted(b"{}", ())])):
            for _ in range(8):  # statements get prepared
                act()
            before = way.round_trips
            act()
            found[act] = way.round_trips - before
        assert database.is_pooled == is_pooled
        assert list(found.values()) == [3, 3, 1]


def test_connecting_takes_as_many_round_trips_as_before(used_postgresql_url: str) -> None:
    with proxy(used_postgresql_url) as way, opened(way.url, upgraded=False) as database:
        with database.read(), database.read():  # the first one has SQLAlchemy ask for the server's version
            pass
        before, connections = way.round_trips, way.connections
        with database.read(), database.read(), database.read():
            pass
        assert way.connections - connections == 1
        assert way.round_trips - before == 3  # the question for TLS, the greeting, the number of the session


def test_pool_mode_statement_is_refused(used_postgresql_url: str) -> None:
    with pgbouncer(used_postgresql_url, "statement") as url:
        database = Database(url)
        for act in (Database.check_writable, upgrade):
            with pytest.raises(StoreError, match=r"allows no transactions .* give it pool_mode=transaction or"):
                act(database)


class TestSessions:
    """What needs a session of its own gets one, or is refused in words."""

    def test_that_the_pooler_keeps(self, used_postgresql_url: str) -> None:
        with pgbouncer(used_postgresql_url, "session") as url, opened(url, upgraded=False) as database:
            assert shown(database, "jit") == "off"
            check_sessions(database, None)
            with closing(database.open_session()) as session, closing(database.open_session()) as other:
                numbers = [each.execute("SELECT pg_backend_pid()").fetchone() for each in (session, other, session)]
                assert numbers[0] == numbers[2] != numbers[1]
                assert session.execute("SHOW jit").fetchone() == ("off",)
                for _ in range(10):
                    session.execute("SELECT 1")
                assert session.prepare_threshold

    @pytest.mark.parametrize(
        "settings", [{}, {"server_round_robin": 1, "min_pool_size": 4}, {"default_pool_size": 1}, {"processes": 3}]
    )
    def test_that_the_pooler_shares(self, used_postgresql_url: str, settings: dict[str, Any]) -> None:
        with pgbouncer(used_postgresql_url, "transaction", **settings) as url, opened(url, upgraded=False) as database:
            for _ in range(3):
                assert shown(database, "jit") == "off"
                with pytest.raises(StoreError, match="set EXTENSION_DATABASE_DIRECT_URL to the URL of the PostgreSQL"):
                    check_sessions(database, None)

    def test_with_a_direct_url(self, used_postgresql_url: str) -> None:
        with pgbouncer(used_postgresql_url, "transaction") as url, opened(url, upgraded=False) as database:
            assert shown(database, "jit") == "off"
            check_sessions(database, Database(used_postgresql_url))
            with pytest.raises(StoreError, match=r"_DATABASE_DIRECT_URL cannot be used: .*behind a connection"):
                check_sessions(database, Database(url))

    def test_with_the_direct_url_of_another_database(self, used_postgresql_url: str, postgresql_url: str) -> None:
        with pgbouncer(used_postgresql_url, "transaction") as url, opened(url, upgraded=False) as database:
            for other in (postgresql_url, make_url(postgresql_url).set(query={}).render_as_string(hide_password=False)):
                with pytest.raises(StoreError, match=r"DIRECT_URL names other tables, .*: both must lead to the same"):
                    check_sessions(database, Database(other))
            wrong = make_url(used_postgresql_url).set(port=1, password="hush").render_as_string(hide_password=False)
            with pytest.raises(StoreError, match=r"DIRECT_URL cannot be used: .* cannot be reached") as failed:
                check_sessions(database, Database(wrong))
            assert "hush" not in str(failed.value)

    def test_without_a_pooler_nothing_is_asked(self, used_postgresql_url: str) -> None:
        with proxy(used_postgresql_url) as way, opened(way.url, upgraded=False) as database:
            assert shown(database, "jit") == "off"
            before = way.round_trips, way.connections
            check_sessions(database, None)
            assert (way.round_trips, way.connections) == before
