"""Outages of the database, as a worker sees and tells them."""

import logging

import pytest

from extension_kit.engine import outages as module
from extension_kit.engine.outages import Outages
from extension_kit.errors import StoreUnavailable


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [(record.levelno, record.getMessage()) for record in caplog.records]


def test_one_line_says_what_is_wrong_and_one_that_it_is_over(lines):
    outages = Outages()
    for text in ("gone", "still gone"):
        outages.begin(StoreUnavailable(text))
    outages.end()
    outages.end()
    (first, said), (second, over) = lines()
    assert (first, said) == (logging.ERROR, "Database unavailable, deliveries paused: gone")
    assert second == logging.INFO
    assert over.startswith("Deliveries resumed after ")


def test_an_answer_without_an_outage_says_nothing(lines):
    Outages().end()
    assert lines() == []


def test_pauses_become_longer_and_begin_anew_with_each_outage(lines):
    outages = Outages()
    pauses = [outages.begin(StoreUnavailable("gone")) for _ in range(9)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (module._FIRST_PAUSE, module._LONGEST_PAUSE)
    outages.end()
    assert outages.begin(StoreUnavailable("gone")) == module._FIRST_PAUSE
    assert len(lines()) == 3
