"""The numbers of the overview: rates, what waits and since when, dead letters by listener and error."""

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from extension_kit.deliveries.tables import attempts, deliveries
from extension_kit.event_log import newest, overview_numbers
from extension_kit.event_log.overview_numbers import dead_by_listener_and_error, rates, waiting_by_listener
from tests.support.event_log import BEGAN

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    monkeypatch.setattr(newest, "_SECONDS", 60.0)


@pytest.fixture
def all_attempts(filled):
    with filled.read() as connection:
        return connection.execute(select(attempts).order_by(attempts.c.ref)).all()


def test_rates(filled, all_attempts):
    since, now = BEGAN + 20 * MINUTE, BEGAN + 140 * MINUTE
    with filled.read() as connection:
        found = rates(connection, since, now, bars=12)
    assert [each.begin for each in found] == [since + 10 * n * MINUTE for n in range(12)]
    for rate in found:
        within = [each.result for each in all_attempts if rate.begin <= each.ended_at < rate.begin + 10 * MINUTE]
        numbers = Counter(within)
        assert rate.delivered == numbers["delivered"]
        assert rate.failed == numbers["failed"] + numbers["refused"] + numbers["lost"]
        assert rate.is_complete
    assert sum(rate.delivered + rate.failed for rate in found) > 50


def test_rates_tell_from_when_on_they_are_complete(filled, all_attempts, monkeypatch):
    monkeypatch.setattr(newest, "_FIRST", 10)
    monkeypatch.setattr(overview_numbers, "_MOST_ATTEMPTS", 60)
    now = all_attempts[-1].ended_at + MINUTE
    with filled.read() as connection:
        found = rates(connection, now - 100 * MINUTE, now, bars=10)
    complete = [rate.is_complete for rate in found]
    assert complete == sorted(complete)
    assert complete.count(True) == 6
    for rate in found[4:]:
        within = [each for each in all_attempts if rate.begin <= each.ended_at < rate.begin + 10 * MINUTE]
        assert rate.delivered + rate.failed == sum(each.result != "handed back" for each in within)
    assert found[0].delivered == found[0].failed == 0


def test_what_waits(filled, all_deliveries):
    with filled.read() as connection:
        found = waiting_by_listener(connection)
    waiting = [row for row in all_deliveries if row.status == "waiting"]
    assert {each.listener: each.number for each in found} == Counter(row.listener for row in waiting)
    assert [each.number for each in found] == sorted((each.number for each in found), reverse=True)
    for each in found:
        assert each.is_exact
        assert each.since == min(row.created_at for row in waiting if row.listener == each.listener)


def test_what_waits_is_counted_up_to_a_number(filled, monkeypatch):
    monkeypatch.setattr(overview_numbers, "_COUNTED", 5)
    monkeypatch.setattr(overview_numbers, "_LEAST_COUNTED", 2)
    with filled.read() as connection:
        found = waiting_by_listener(connection)
        assert [(each.number, each.is_exact) for each in found] == [(5, False), (2, False), (2, False), (2, False)]
        assert len(waiting_by_listener(connection, limit=1)) == 1


def test_listeners_for_which_nothing_waits_are_left_out(filled):
    with filled.transaction() as connection:
        mine = deliveries.c.listener == "subscription:1"
        connection.execute(update(deliveries).where(mine).values(status="delivered", stage=None))
    with filled.read() as connection:
        assert "subscription:1" not in {each.listener for each in waiting_by_listener(connection)}


def test_dead_letters(filled, all_deliveries):
    with filled.read() as connection:
        found = dead_by_listener_and_error(connection, limit=100)
        assert dead_by_listener_and_error(connection, limit=2) == found[:2]
    dead = [row for row in all_deliveries if row.status == "dead"]
    numbers = Counter((row.listener, (row.error or "").partition("\n")[0]) for row in dead)
    assert {(each.listener, each.error): each.number for each in found} == numbers
    assert [each.number for each in found] == sorted(numbers.values(), reverse=True)
    assert all(each.is_exact for each in found)


def test_the_newest_dead_letters_of_many(filled, all_deliveries, monkeypatch):
    monkeypatch.setattr(newest, "_FIRST", 10)
    monkeypatch.setattr(newest, "_MOST", 10)
    with filled.read() as connection:
        found = dead_by_listener_and_error(connection)
    dead = [row for row in all_deliveries if row.status == "dead"][:10]
    numbers = Counter((row.listener, (row.error or "").partition("\n")[0]) for row in dead)
    assert {(each.listener, each.error): each.number for each in found} == numbers
    assert not any(each.is_exact for each in found)


def test_there_may_be_nothing(database):
    with database.read() as connection:
        assert {rate[1:] for rate in rates(connection, BEGAN, BEGAN + MINUTE)} == {(0, 0, True)}
        assert waiting_by_listener(connection) == []
        assert dead_by_listener_and_error(connection) == []
