"""Workers share the deliveries of a PostgreSQL database by shards."""

from contextlib import ExitStack

import pytest

from extension_kit.engine import postgresql_owner
from extension_kit.engine.postgresql_owner import PostgresqlOwner
from extension_kit.errors import StoreError, StoreUnavailable
from extension_kit.store import connector
from extension_kit.store.database import Database
from tests.support.databases import opened
from tests.support.poolers import pgbouncer
from tests.support.proxies import proxy
from tests.support.used import connect
from tests.support.waiting import wait_until


@pytest.fixture
def make(used_postgresql_url):
    """Make owners: ``make(3)``; they are closed at the end."""
    with ExitStack() as stack:

        def owner(url, stalled_after):
            database = Database(url)
            stack.callback(database.dispose)
            made = PostgresqlOwner(database, stalled_after)
            stack.callback(made.close)
            return made

        def make(number=1, url=used_postgresql_url, stalled_after=30.0):
            return [owner(url, stalled_after) for _ in range(number)]

        yield make


@pytest.fixture
def server(used_postgresql_url):
    """A connection to the server."""
    with connect(used_postgresql_url) as connection:
        yield connection


@pytest.fixture
def no_grace(monkeypatch):
    """Free shards are taken at once after a lost connection."""
    monkeypatch.setattr(postgresql_owner, "_GRACE", -1.0)


def settle(*owners):
    """Let each look, as often as shares can change."""
    for _ in range(3):
        for owner in owners:
            owner.look(set())


def shares(*owners):
    """How many shards each has; together they have each once."""
    found = [owner.shards for owner in owners]
    assert sorted(shard for shards in found for shard in shards) == list(range(32))
    return [len(shards) for shards in found]


def pid(owner):
    with owner.transaction() as connection:
        return connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()


def test_the_only_one_has_all_shards(make):
    (owner,) = make()
    assert sorted(owner.look(set())) == list(range(32))
    assert shares(owner) == [32]
    assert owner.look(set()) == []


@pytest.mark.parametrize(("number", "expected"), [(2, [16, 16]), (3, [10, 11, 11]), (5, [4, 7, 7, 7, 7])])
def test_shards_are_shared(make, number, expected):
    owners = make(number)
    settle(*owners)
    assert sorted(shares(*owners)) == expected
    before = [owner.shards for owner in owners]
    settle(*owners)
    assert [owner.shards for owner in owners] == before  # it stays like that


def test_more_workers_than_shards_stand_by(make):
    owners = make(34)
    settle(*owners)
    assert sorted(shares(*owners)) == [0, 0, *[1] * 32]


def test_a_newcomer_gets_its_share_when_deliveries_have_ended(make):
    first, newcomer = make(2)
    first.look(set())
    newcomer.look(set())
    busy = set(range(20))
    first.look(busy)
    assert len(first.shards) == 16  # nothing is claimed from those that are to go
    assert set(range(20, 32)).isdisjoint(first.shards)  # the idle ones have gone first
    assert sorted(newcomer.look(set())) == list(range(20, 32))
    leaving = sorted(busy - set(first.shards))
    first.look(busy - set(leaving[:2]))
    newcomer.look(set())
    assert len(newcomer.shards) == 14
    settle(first, newcomer)
    assert shares(first, newcomer) == [16, 16]


def test_who_ends_leaves_its_shards_to_the_others(make):
    first, second = make(2)
    settle(first, second)
    second.close()
    assert second.shards == []
    assert len(first.look(set())) == 16
    assert shares(first) == [32]


def test_a_session_that_the_server_ends_is_noticed_and_its_shards_are_taken_again(make, server):
    (owner,) = make()
    owner.look(set())
    server.execute("SELECT pg_terminate_backend(%s, 10000)", [pid(owner)])
    with pytest.raises(StoreError), owner.transaction() as connection:
        connection.exec_driver_sql("SELECT 1")
    assert owner.shards == []
    with pytest.raises(StoreUnavailable, match="was lost"), owner.transaction():
        pass
    assert sorted(owner.look(set())) == list(range(32))


def test_what_was_lost_to_others_meanwhile_is_theirs(make, server, no_grace):
    first, second = make(2)
    first.look(set())
    server.execute("SELECT pg_terminate_backend(%s, 10000)", [pid(first)])
    assert sorted(second.look(set())) == list(range(32))
    with pytest.raises(StoreError):
        first.look(set())
    assert first.shards == []
    assert first.look(set()) == []
    settle(second, first)
    assert shares(first, second) == [16, 16]


def test_who_has_lost_its_session_does_not_grab_what_others_have_lost_at_that_moment(make, server):
    first, second = make(2)
    settle(first, second)
    mine = first.shards
    for owner in (first, second):
        server.execute("SELECT pg_terminate_backend(%s, 10000)", [pid(owner)])
    with pytest.raises(StoreError):
        first.look(set())
    assert sorted(first.look(set())) == mine
    assert first.look(set()) == []
    wait_until(lambda: first.look(set()))  # later it does


def test_a_failed_statement_ends_the_session(make):
    (owner,) = make()
    owner.look(set())
    before = pid(owner)
    with pytest.raises(ValueError, match="a mistake"), owner.transaction():
        raise ValueError("a mistake")
    assert owner.shards == []
    assert sorted(owner.look(set())) == list(range(32))
    assert pid(owner) != before


def test_a_transaction_that_fails_changes_nothing(make, server):
    (owner,) = make()
    owner.look(set())

    def fail():
        with owner.transaction() as connection:
            connection.exec_driver_sql("INSERT INTO series (key, last_count, last_at) VALUES ('t/1', 1, now())")
            raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        fail()
    assert server.execute("SELECT count(*) FROM series").fetchone() == (0,)


def test_the_server_ends_the_session_of_who_is_silent(make, server):
    first, second = make(2, stalled_after=1.0)
    first.look(set())
    number = pid(first)
    alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: server.execute(alive, [number]).fetchone() == (0,))
    assert sorted(second.look(set())) == list(range(32))
    with pytest.raises(StoreError):
        first.look(set())
    assert first.shards == []


def test_who_is_cut_off_does_not_wait_for_ever(make, used_postgresql_url):
    with proxy(used_postgresql_url) as way:
        (owner,) = make(url=way.url)
        owner._database.timeout = 1.0
        owner.look(set())
        with way.hanging(), pytest.raises(StoreError):
            owner.look(set())
        assert owner.shards == []
        wait_until(lambda: _looks(owner))
        assert owner.shards


def _looks(owner):
    try:
        owner.look(set())
    except StoreError:
        return False
    return True


@pytest.mark.parametrize("way", ["greeting", "session"])
def test_a_pooler_that_keeps_sessions_is_no_trouble(make, used_postgresql_url, server, way):
    made = proxy(used_postgresql_url, pooler=True) if way == "greeting" else pgbouncer(used_postgresql_url, "session")
    with made as pooler:
        url = pooler if way == "session" else pooler.url
        first, second = make(url=url, stalled_after=1.0) + make(url=url)
        settle(first, second)
        assert shares(first, second) == [16, 16]
        number = pid(first)
        wait_until(lambda: server.execute("SELECT 1 FROM pg_locks WHERE pid = %s", [number]).fetchone() is None)
        wait_until(lambda: len(second.look(set())) + len(second.shards) >= 32)  # the first one was silent
        second.close()
        (third,) = make(url=url)
        wait_until(lambda: third.look(set()) or len(third.shards) == 32)
        first.close()
        third.close()


@pytest.mark.parametrize("settings", [{}, {"default_pool_size": 1}, {"server_round_robin": 1}])
def test_a_pooler_that_shares_sessions_is_refused(make, used_postgresql_url, server, settings):
    with pgbouncer(used_postgresql_url, "transaction", **settings) as url:
        (owner,) = make(url=url)
        for _ in range(2):
            with pytest.raises(
                StoreError, match="set EXTENSION_DATABASE_DIRECT_URL to the URL of the PostgreSQL server"
            ):
                owner.look(set())
        assert owner.shards == []
        assert server.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
            "WHERE locktype = 'advisory' AND objsubid = 2 AND datname = current_database()"
        ).fetchone() == (0,)


def test_the_session_of_another_is_noticed(make, used_postgresql_url, monkeypatch):
    monkeypatch.setattr(connector, "_are_shared", lambda connections: False)  # as if that had been hidden
    with pgbouncer(used_postgresql_url, "transaction") as url:
        (owner,) = make(url=url)
        owner.look(set())
        with opened(url, upgraded=False) as database, database.transaction() as connection:
            connection.exec_driver_sql("SELECT 1")  # in the session that has the locks
            with pytest.raises(StoreError, match="has given this worker the session of another"):
                owner.look(set())
            assert owner.shards == []


def test_an_old_server_is_refused(make, monkeypatch):
    monkeypatch.setattr(postgresql_owner, "_OLDEST", 10**9)
    (owner,) = make()
    with pytest.raises(StoreUnavailable, match="workers need 14 or later"):
        owner.look(set())


def test_databases_do_not_share_shards(make, postgresql_url):
    (one,), (other,) = make(), make(url=postgresql_url)
    with connect(postgresql_url) as connection:
        connection.execute("CREATE TABLE deliveries ()")
    settle(one, other)
    assert (len(one.shards), len(other.shards)) == (32, 32)


def test_a_database_without_tables_is_understood(make, postgresql_url):
    (owner,) = make(url=postgresql_url)
    with pytest.raises(StoreError, match="extension-kit db upgrade"):
        owner.look(set())
