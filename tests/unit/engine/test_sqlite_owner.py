"""One worker makes the deliveries of a SQLite file; others stand by."""

import logging
import os
import signal
import stat

import pytest

from extension_kit.engine.sqlite_owner import SqliteOwner
from extension_kit.errors import StoreUnavailable
from tests.support.databases import opened
from tests.support.queues import Deliveries
from tests.support.waiting import wait_until


@pytest.fixture
def make(sqlite):
    """Make owners with connections of their own; their databases are closed at the end."""
    with opened(f"sqlite:///{sqlite.path}", upgraded=False) as one, opened(f"sqlite:///{sqlite.path}") as two:
        left = [two, one]
        owners = []

        def make():
            owners.append(SqliteOwner(left.pop()))
            return owners[-1]

        yield make
        for owner in owners:
            owner.close()


def test_the_second_stands_by_and_takes_over(make, caplog):
    caplog.set_level(logging.INFO)
    first, second = make(), make()
    assert first.look(set()) == [0]
    assert (second.look(set()), second.look(set()), second.shards) == ([], [], [])
    assert caplog.text.count("standing by") == 1
    assert (first.look(set()), first.shards) == ([], [0])
    first.close()
    assert (first.shards, second.look(set()), second.shards) == ([], [0], [0])
    assert first.look(set()) == []


def test_the_file_is_for_its_owner_only_and_stays(make, sqlite):
    owner = make()
    owner.look(set())
    path = sqlite.path.with_name("extension.db-worker")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    owner.close()
    assert path.exists()


def test_who_is_killed_frees_the_shard(make):
    first, second = make(), make()
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        first.look(set())
        os.write(writing, b".")
        signal.pause()
    os.read(reading, 1)
    assert second.look(set()) == []
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert second.look(set()) == [0]
    os.close(reading)
    os.close(writing)


def test_a_forked_process_does_not_keep_the_shard(make):
    first, second = make(), make()
    first.look(set())
    pid = os.fork()
    if not pid:
        signal.pause()
    try:
        assert second.look(set()) == []  # the end of the file in the forked process does not free it
        first.close()
        wait_until(lambda: second.look(set()) == [0])
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_who_lost_the_file_does_not_own_the_shard(make, sqlite):
    first, second = make(), make()
    first.look(set())
    sqlite.path.with_name("extension.db-worker").unlink()
    assert second.look(set()) == [0]
    with pytest.raises(StoreUnavailable, match="let it stay there"):
        first.look(set())
    assert first.shards == []
    assert first.look(set()) == []
    assert second.shards == [0]


def test_a_file_that_cannot_be_opened_is_named(make, sqlite):
    sqlite.path.with_name("extension.db-worker").mkdir()
    with pytest.raises(StoreUnavailable, match=r"extension\.db-worker cannot be opened"):
        make().look(set())


def test_commits_of_others_are_news_and_ones_own_are_not(make, sqlite):
    owner, stored = make(), Deliveries(sqlite)
    assert not owner.has_news()  # nothing was read yet
    with owner.transaction() as connection:
        connection.exec_driver_sql("UPDATE series SET last_count = 1")
    owner.has_news()
    assert not owner.has_news()
    with owner.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM events")
    assert not owner.has_news()
    stored.add("1")
    assert owner.has_news()
    assert not owner.has_news()


def test_claims_have_it_look_more_often_for_a_while_and_commits_do_not(make, sqlite, monkeypatch):
    owner, stored = make(), Deliveries(sqlite)
    often = owner.poll
    monkeypatch.setattr("extension_kit.engine.sqlite_owner._QUIET_AFTER", 0.0)
    seldom = owner.poll
    assert often < seldom
    with owner.transaction():
        owner.has_news()
    stored.add("1")
    assert owner.has_news()
    assert owner.poll == seldom
    monkeypatch.setattr("extension_kit.engine.sqlite_owner._QUIET_AFTER", 3600.0)
    owner.expect_more()
    assert owner.poll == often


def test_what_is_committed_before_a_transaction_is_news_in_it(make, sqlite):
    owner, stored = make(), Deliveries(sqlite)
    with owner.transaction():
        owner.has_news()
    stored.add("1")
    with owner.transaction():
        assert owner.has_news()
        assert not owner.has_news()


def test_news_survive_that_connections_are_closed(make, sqlite):
    owner = make()
    with owner.transaction():
        owner.has_news()
    owner._database.dispose()  # as before a fork
    assert owner.has_news()
    assert not owner.has_news()
    with owner.transaction():
        assert owner.has_news()
