"""Readiness: which functions rest, what is said of them, and what a worker on a real store does about it."""

import logging

import pytest

from extension_kit.deliveries.handler import Handler
from extension_kit.deliveries.readiness import MOST_BYTES, Readiness
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.senders import Outcome
from tests.support.queues import Deliveries
from tests.support.waiting import wait_until
from tests.support.workers import Attempts, working

DELIVERED, FAILED = Outcome("delivered"), Outcome("failed", "no answer")


def refusal(reason="refuses the token (401)", seconds=1.0):
    return Outcome("not ready", reason, retry_in=seconds)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr("time.monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def readiness():
    return Readiness({"page": "extension-oncall", "log": "extension-oncall", "other": "extension-other"})


def test_one_probe_at_a_time_until_an_attempt_ends_otherwise(readiness, clock):
    readiness.record("page", refusal(seconds=30))
    assert not readiness.may_attempt("page")
    assert readiness.may_attempt("log")
    assert readiness.resting().listeners == {"page"}
    clock.now += 30
    assert readiness.resting().probed == {"page"}
    assert [readiness.may_attempt("page") for _ in range(3)] == [True, False, False]
    assert readiness.resting()[:2] == (frozenset({"page"}), frozenset())
    readiness.record("page", refusal(seconds=30))
    assert not readiness.may_attempt("page")
    clock.now += 30
    assert readiness.may_attempt("page")
    readiness.record("page", FAILED)
    assert [readiness.may_attempt("page") for _ in range(3)] == [True] * 3
    assert readiness.reasons() == []


def test_functions_of_an_extension_wait_while_it_says_no(readiness):
    readiness.tell("extension-oncall", "no connection")
    assert [readiness.may_attempt(key) for key in ("page", "log", "other", "subscription:1")] == [False] * 2 + [
        True
    ] * 2
    assert readiness.resting().listeners == {"page", "log"}
    readiness.tell("extension-oncall", None)
    assert readiness.may_attempt("page")


def test_changes_are_logged_and_not_attempts(readiness, clock, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(100):
        readiness.record("page", refusal())
    readiness.record("page", DELIVERED)
    for _ in range(100):  # one of its deliveries alone has a reason to say no
        readiness.record("page", refusal())
        readiness.record("page", DELIVERED)
    assert len(caplog.records) == 2
    assert caplog.messages[0].endswith("refuses the token (401)")
    clock.now += 60
    readiness.record("page", refusal())
    assert len(caplog.records) == 3


def test_reasons_are_lines_without_secrets_and_bounded(readiness):
    readiness.record(
        "page", refusal("Authorization: Bearer abcdefghijklmnop\nof postgresql://anna:secret@host/\x1b[2J")
    )
    readiness.record("log", refusal("é" * 100_000))
    assert len(readiness.reasons()) == 2
    text = "\n".join(readiness.reasons())
    assert "abcdefgh" not in text
    assert "secret" not in text
    assert "\x1b" not in text
    many = Readiness({str(number): f"extension-{number}" for number in range(100)})
    for number in range(100):
        many.record(str(number), refusal("é" * 1000))
    assert 3000 < len("\n".join(many.reasons()).encode()) <= MOST_BYTES


def test_uncounted_however_often_and_then_delivered_in_order(database):
    """The schedule has one attempt, the function is not ready for four, and other functions go on."""
    stored = Deliveries(database)
    refs = stored.add(*map(str, range(200)), series="t/1")
    attempts = Attempts({"0": [refusal() for _ in range(4)]})
    find = lambda listener, connection: Handler(attempts, RetrySchedule(()), 60.0)  # noqa: E731
    with working(database, find=find, readiness=Readiness({"oncall": "extension-oncall"})) as worker:
        wait_until(lambda: attempts.started)
        others = stored.add(*(f"o{number}" for number in range(50)), listener="other")
        worker._scribe.wake()
        wait_until(lambda: all(stored.row(ref).status == "delivered" for ref in others))
        assert attempts.started.count("0") <= 4
        assert not any(stored.attempts(ref) for ref in refs[1:])
        wait_until(lambda: stored.row(refs[-1]).status == "delivered")
    made = [name for name in attempts.started if not name.startswith("o")]
    assert made == ["0"] * 4 + [str(number) for number in range(200)]
    assert [result for _, result in stored.attempts(refs[0])] == ["not ready"] * 4 + ["delivered"]


def test_a_single_probe_of_many_deliveries(database):
    """Those that wait are not claimed one after the other to find out that they cannot be made."""
    stored = Deliveries(database)
    refs = stored.add(*map(str, range(300)))
    is_refused = True
    started = []

    def make(due):
        started.append(due.event_id)
        return refusal() if is_refused else DELIVERED

    with working(database, make, readiness=Readiness({"oncall": "extension-oncall"})):
        wait_until(lambda: started)
        wait_until(lambda: not any(stored.row(ref).stage == "claimed" for ref in refs[::50]))
        first = len(started)
        assert first <= 8
        wait_until(lambda: len(started) >= first + 3)
        assert sum(len(stored.attempts(ref)) for ref in refs) <= first + 4
        is_refused = False
        wait_until(lambda: all(stored.row(ref).status == "delivered" for ref in refs))
    assert all(stored.attempts(ref)[-1][1] == "delivered" for ref in refs)
