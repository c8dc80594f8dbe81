import asyncio
import logging
import sqlite3

import psycopg
import pytest
from procrastinate.exceptions import ConnectorException, UniqueViolation

from extension_kit.engine.outages import Outages

NAME = "postgresql://kit@db/kit"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("extension_kit.engine.outages._FIRST_PAUSE", 0.001)
    monkeypatch.setattr("extension_kit.engine.outages._LONGEST_PAUSE", 0.002)


def failing(*errors):
    """A question that is answered after so many errors."""
    left = list(errors)

    async def ask():
        if left:
            cause = left.pop(0)
            if isinstance(cause, ConnectorException):
                raise cause
            raise ConnectorException from cause
        return "answer"

    return ask


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


def test_an_answer_is_returned(run, lines):
    async def ask():
        return await Outages(NAME).outlast(failing())

    assert run(ask()) == "answer"
    assert not lines()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (psycopg.OperationalError("connection refused"), "cannot be reached (connection refused)"),
        (psycopg.errors.AdminShutdown(), "is being restarted or shut down"),
        (psycopg.errors.UndefinedTable(), "run `extension-kit db upgrade`"),
        (ValueError("odd"), "ValueError('odd')"),
    ],
)
def test_one_line_says_what_is_wrong_and_one_that_it_is_over(run, lines, error, said):
    async def ask():
        outages = Outages(NAME)
        asked = [outages.outlast(failing(error, error, error)) for _ in range(3)]
        assert await asyncio.gather(*asked) == ["answer"] * 3
        assert outages.failures == 9

    run(ask())
    first, second = lines()
    assert first.startswith("Database unavailable, deliveries paused: ")
    assert said in first
    assert second.startswith("Deliveries resumed after ")


def test_every_outage_has_its_lines(run, lines):
    async def ask():
        outages = Outages(NAME)
        for _ in range(2):
            await outages.outlast(failing(sqlite3.OperationalError("disk I/O error")))

    run(ask())
    assert len(lines()) == 4


def test_a_database_that_does_not_answer_counts_as_gone(run, lines):
    calls = []

    async def ask():
        calls.append(None)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return "answer"

    assert run(Outages(NAME).outlast(ask, timeout=0.01)) == "answer"
    assert len(lines()) == 2


def test_what_the_database_refuses_is_no_outage(run, lines):
    async def ask():
        outages = Outages(NAME)
        with pytest.raises(UniqueViolation):
            await outages.outlast(failing(UniqueViolation(constraint_name="lock", queueing_lock=None)))
        return outages.failures

    assert run(ask()) == 0
    assert not lines()


def test_who_has_to_end_asks_once_more_at_most(run, lines, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.outages._FIRST_PAUSE", 3600)

    async def ask():
        outages = Outages(NAME)
        asked = asyncio.create_task(outages.outlast(failing(*[OSError()] * 3)))
        while not outages.failures:
            await asyncio.sleep(0)
        outages.give_up()
        with pytest.raises(ConnectorException):
            await asked
        assert outages.failures == 2
        assert await outages.outlast(failing()) == "answer"

    run(ask())
