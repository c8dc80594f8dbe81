"""What becomes of a claimed delivery, before, after and without an attempt; and what is written of it on each store."""

import logging
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, update

from extension_kit.deliveries.attempt import (
    SUSPECT,
    after_attempt,
    after_hand_back,
    after_loss,
    before_attempt,
    report,
)
from extension_kit.deliveries.claims import Claim
from extension_kit.deliveries.handler import Due, Handler
from extension_kit.deliveries.hung_runs import HungRuns
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.replay import replay
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import (
    DEAD,
    DELIVERED,
    DELIVERY_COLUMNS,
    DISCARDED,
    LATER,
    READY,
    WAITING,
    attempts,
    deliveries,
    events,
)
from extension_kit.senders import Outcome
from tests.support.driving import claimed, make_attempt, written
from tests.support.recording import change

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(seconds=3)
DIED = "the process died in every attempt"


def claim_of(number=1, uncounted=0, *, losses=0, first=None, error=None):
    """A claim for an attempt with a number."""
    event = ("a.b", "e-5", b"{}", "test", None, None)
    due = Due(7, number, uncounted, "page", NOW, *event, None, None)
    return Claim(due, None, 0, BEFORE, losses, first, error)


def handler(*delays, rests=0.0):
    return Handler(lambda due: pytest.fail("nothing is attempted here"), RetrySchedule(delays), 30.0, lambda: rests)


def seconds_to_wait(end):
    return (end.due_at - end.at).total_seconds()


class TestBefore:
    def test_an_attempt_is_made_of_what_has_one_left(self):
        assert before_attempt(claim_of(), handler(), NOW) is None
        assert before_attempt(claim_of(3), handler(10.0, 20.0), NOW) is None

    def test_a_delivery_without_a_handler_is_discarded(self):
        end = before_attempt(claim_of(), None, NOW)
        assert (end.status, end.error, end.attempt, end.result) == (DISCARDED, "its listener is gone", None, None)

    @pytest.mark.parametrize(("error", "expected"), [(None, DIED), ("busy", "busy")])
    def test_what_has_no_attempt_left_is_a_dead_letter(self, error, expected):
        end = before_attempt(claim_of(3, error=error), handler(10.0), NOW)
        assert (end.status, end.error, end.attempt, end.result) == (DEAD, expected, None, "dead")

    def test_attempts_that_do_not_count_leave_it_its_own(self):
        assert before_attempt(claim_of(9, 8), handler(), NOW) is None
        assert before_attempt(claim_of(10, 8), handler(), NOW).status == DEAD


class TestResting:
    """A target that rests, for a while or for longer than the retry schedule lasts."""

    def rest(self, seconds_since=None, **more):
        first = None if seconds_since is None else NOW - timedelta(seconds=seconds_since)
        return before_attempt(claim_of(first=first, **more), handler(10.0, 20.0, rests=60.0), NOW)

    def test_it_is_left_alone_and_no_attempt_is_made(self):
        end = self.rest(error="busy")
        assert (end.status, end.attempt, end.error, end.result) == (WAITING, None, "busy", None)
        assert seconds_to_wait(end) == 60

    def test_a_delivery_is_dead_when_its_schedule_would_have_been_over(self):
        assert self.rest(29, error="no answer").status == WAITING
        end = self.rest(31, error="no answer")
        assert (end.status, end.error, end.attempt) == (DEAD, "the target rests: no answer", None)
        assert self.rest(31).error == "the target rests"

    def test_the_error_does_not_grow_with_each_replay(self):
        assert self.rest(31, error="the target rests: no answer").error == "the target rests: no answer"

    def test_a_target_that_does_not_rest_is_tried_however_late(self):
        assert before_attempt(claim_of(first=NOW - timedelta(days=99)), handler(10.0), NOW) is None

    def test_it_says_nothing_about_what_killed_the_process(self):
        """No attempt was made, so a suspect stays one."""
        assert self.rest(losses=SUSPECT).losses == SUSPECT


class TestAfter:
    def after(self, outcome, *delays, number=1, uncounted=0, **more):
        return after_attempt(claim_of(number, uncounted, **more), RetrySchedule(delays), outcome, BEFORE, NOW)

    def test_what_was_delivered_has_ended(self):
        outcome = Outcome("delivered", None, 204, "fine")
        end = self.after(outcome, 10.0)
        assert (end.status, end.due_at, end.error, end.counts) == (DELIVERED, None, None, True)
        assert end.attempt == (BEFORE, NOW, "delivered", outcome, None)
        assert (end.result, end.seconds) == ("delivered", 3)

    def test_what_failed_is_due_again_by_the_schedule(self):
        end = self.after(Outcome("failed", "busy", 503), 10.0, 100.0, number=2)
        assert (end.status, end.error, end.result, end.attempt.result) == (WAITING, "busy", "failed", "failed")
        assert 89 < seconds_to_wait(end) < 111

    def test_a_receiver_may_ask_for_more_time_and_a_function_for_any(self):
        assert seconds_to_wait(self.after(Outcome("failed", "busy", 503, retry_after=500.0), 10.0)) == 500
        assert seconds_to_wait(self.after(Outcome("failed", "not yet", retry_in=0.5), 10.0)) == 0.5

    @pytest.mark.parametrize("outcome", [Outcome("refused", "gone", 410), Outcome("failed", "busy")])
    def test_what_cannot_get_better_or_has_no_attempt_left_is_a_dead_letter(self, outcome):
        end = self.after(outcome, 10.0, number=2)
        assert (end.status, end.error, end.attempt.result) == (DEAD, outcome.error, outcome.result)
        assert (end.result, end.due_at) == ("dead", None)

    def test_attempts_before_a_replay_do_not_count(self):
        assert self.after(Outcome("failed", "busy"), 10.0, number=6, uncounted=5).status == WAITING
        assert self.after(Outcome("failed", "busy"), 10.0, number=7, uncounted=5).status == DEAD

    def test_what_ended_by_itself_does_not_kill_its_process(self):
        assert self.after(Outcome("failed"), 10.0, losses=SUSPECT).losses == 0

    def test_errors_are_kept_in_part(self):
        end = self.after(Outcome("failed", "x" * 100_000, excerpt="y" * 100_000), 10.0)
        assert end.error == end.attempt.error
        assert 1000 < len(end.error) < 5000
        assert 1000 < len(end.attempt.outcome.excerpt) < 5000

    def test_what_no_database_stores_is_replaced(self):
        end = self.after(Outcome("failed", "byte \x00, half \ud800, Zürich", excerpt="\x00\udfff"), 10.0)
        assert end.error == end.attempt.error == "byte \ufffd, half ?, Zürich"
        assert end.attempt.outcome.excerpt == "\ufffd?"


class TestLosses:
    """Claims whose process died: any delivery of that process may be the cause."""

    delays = (10.0, 100.0, 1000.0)

    def lose(self, number, losses, uncounted=0, delays=None, **more):
        claim = claim_of(number, uncounted, losses=losses, **more)
        return after_loss(claim, handler(*(self.delays if delays is None else delays)), NOW)

    def test_what_is_lost_once_is_made_again_at_once_and_it_does_not_count(self):
        end = self.lose(1, 0, error="before")
        assert (end.status, end.due_at, end.counts, end.losses, end.error) == (WAITING, NOW, False, 1, "before")
        assert end.attempt == (BEFORE, NOW, "lost", None, "the process that made it died")
        assert (end.result, end.seconds) == (None, None)

    def test_what_is_lost_again_waits_by_the_schedule_and_it_does_not_count(self):
        end = self.lose(2, 1, uncounted=1)
        assert (end.status, end.counts, end.losses) == (WAITING, False, SUSPECT)
        assert 9 < seconds_to_wait(end) < 11

    def test_a_suspect_that_is_lost_has_failed(self):
        for number, losses, wait in ((3, 2, 10), (4, 3, 100), (5, 4, 1000)):
            end = self.lose(number, losses, uncounted=2)
            assert (end.status, end.counts, end.losses) == (WAITING, True, losses + 1)
            assert wait * 0.89 < seconds_to_wait(end) < wait * 1.11

    @pytest.mark.parametrize(("error", "expected"), [(None, DIED), ("busy", "busy")])
    def test_the_last_attempt_that_a_suspect_has_makes_a_dead_letter(self, error, expected):
        end = self.lose(6, 5, uncounted=2, error=error)
        assert (end.status, end.error, end.attempt.result, end.result) == (DEAD, expected, "lost", "dead")

    def test_the_innocent_die_of_no_loss(self):
        """Not even those that get one attempt: the first two losses may be another's fault."""
        for number, losses in ((1, 0), (2, 1)):
            end = self.lose(number, losses, uncounted=losses, delays=())
            assert (end.status, end.due_at, end.counts) == (WAITING, NOW, False)
        assert self.lose(3, 2, uncounted=2, delays=()).status == DEAD

    def test_what_has_no_listener_any_more_waits_for_somebody_to_say_so(self):
        end = after_loss(claim_of(4, losses=3), None, NOW)
        assert (end.status, end.due_at) == (WAITING, NOW)

    def test_a_clock_that_was_set_back_makes_no_attempt_end_before_it_began(self):
        end = after_loss(claim_of(), handler(10.0), BEFORE - timedelta(days=1))
        assert end.attempt.ended_at == end.attempt.started_at

    def test_suspects_are_named_in_the_log(self, caplog):
        self.lose(1, 0)
        assert caplog.text == ""
        self.lose(2, 1, uncounted=1)
        (record,) = caplog.records
        assert re.fullmatch(
            r"page of a\.b e-5: attempt 2 was lost with its process, retry in [\d.]+ s", record.getMessage()
        )


def test_what_is_handed_back_is_due_at_once_and_does_not_count():
    end = after_hand_back(claim_of(4, 1, losses=1, error="busy"), BEFORE, NOW)
    assert (end.status, end.due_at, end.counts, end.losses) == (WAITING, NOW, False, 1)
    assert (end.attempt.result, end.attempt.started_at, end.attempt.ended_at) == ("handed back", BEFORE, NOW)
    assert (end.result, end.seconds) == (None, None)


class TestReports:
    def ends(self):
        schedule = RetrySchedule((1800.0,))
        for number in (1, 2):
            yield after_attempt(claim_of(number), schedule, Outcome("failed", "busy"), BEFORE, NOW)
        yield before_attempt(claim_of(3), handler(1800.0), NOW)

    def test_each_attempt_that_failed_is_one_plain_line(self, caplog):
        for end in self.ends():
            report(end, counted=True)
        again, dead, died = (record.getMessage() for record in caplog.records)
        assert re.fullmatch(r"page of a\.b e-5: attempt 1 failed, retry in 1[6-9]\d\d(\.\d+)? s: busy", again)
        assert dead == "page of a.b e-5 is dead after attempt 2: busy"
        assert died == f"page of a.b e-5 is dead: {DIED}"
        assert not any(record.exc_info for record in caplog.records)

    def test_what_was_delivered_is_for_debugging(self, caplog):
        caplog.set_level(logging.DEBUG)
        report(after_attempt(claim_of(2), RetrySchedule(), Outcome("delivered"), BEFORE, NOW), counted=True)
        (record,) = caplog.records
        assert (record.levelname, record.getMessage()) == ("DEBUG", "page of a.b e-5: delivered in attempt 2")

    def test_an_end_that_came_too_late_is_told_by_one_line(self, caplog):
        for end in self.ends():
            caplog.clear()
            report(end, counted=False)
            (record,) = caplog.records
            assert record.getMessage().endswith("of delivery 7 ended too late, result ignored")


@pytest.fixture
def delivery(database):
    """Reads the only delivery, and its attempts."""
    now = datetime.now(UTC)
    with database.transaction() as connection:
        event = {"ref": 5, "source": "test", "event_id": "e-5", "name": "a.b", "body": b'{"a": 1}', "received_at": now}
        connection.execute(insert(events).values(**event))
        row = {"ref": 7, "event_ref": 5, "listener": "page", "status": WAITING, "error": None}
        connection.execute(insert(deliveries).values(**row, created_at=now, due_at=now))

    def read():
        with database.read() as connection:
            made = connection.execute(select(attempts).order_by(attempts.c.number)).all()
            return connection.execute(select(*DELIVERY_COLUMNS)).one(), made

    return read


@pytest.fixture
def make(database, delivery):
    """Make an attempt of it: ``make(outcome or function, delays=(10,), ...)``."""

    def make(outcome, delays=(10.0,), timeout=30.0, hung_runs=None, **options):
        act = outcome if callable(outcome) else lambda due: outcome
        found = None if outcome is None else Handler(act, RetrySchedule(delays), timeout, **options)
        return make_attempt(database, lambda listener, connection: found, 7, hung_runs)

    return make


class TestWritten:
    """Ends of claims in the tables."""

    def test_what_was_delivered(self, make, delivery):
        seen = []
        make(lambda due: seen.append(due) or Outcome("delivered", None, 204, "fine"))
        row, [made] = delivery()
        assert (row.status, row.stage, row.claimed_at, row.attempts, row.error) == (DELIVERED, None, None, 1, None)
        assert row.ended_at == made.ended_at >= made.started_at
        assert row.first_attempt_at == made.started_at
        assert (made.number, made.result, made.error, made.status, made.excerpt) == (1, "delivered", None, 204, "fine")
        [due] = seen
        assert (due.ref, due.number, due.listener, due.event_name, due.event_id) == (7, 1, "page", "a.b", "e-5")
        assert due.body == b'{"a": 1}'
        assert make(lambda due: pytest.fail("it has ended")) is None

    def test_what_failed(self, make, delivery):
        end = make(Outcome("failed", "busy", 503))
        row, [made] = delivery()
        assert (row.status, row.stage, row.claimed_at, row.attempts) == (WAITING, LATER, None, 1)
        assert (row.error, row.ended_at, row.due_at) == ("busy", None, end.due_at)
        assert (made.result, made.error, made.status) == ("failed", "busy", 503)
        assert make(Outcome("failed", "again"), delays=(10.0, 10.0)).claim.due.number == 2
        again, [_, second] = delivery()
        assert (again.attempts, second.number) == (2, 2)
        assert again.first_attempt_at == made.started_at

    def test_what_may_be_made_again_at_once(self, make, delivery):
        make(Outcome("failed", "busy", retry_in=0.0))
        assert (delivery()[0].status, delivery()[0].stage) == (WAITING, READY)

    def test_what_is_dead(self, make, delivery):
        make(Outcome("refused", "gone", 410))
        row, [made] = delivery()
        assert (row.status, row.stage, row.claimed_at, row.error, made.result) == (DEAD, None, None, "gone", "refused")
        assert row.ended_at == made.ended_at

    def test_what_nobody_listens_to(self, make, delivery):
        make(None)
        row, made = delivery()
        assert (row.status, row.stage, row.attempts, row.error) == (DISCARDED, None, 0, "its listener is gone")
        assert (made, row.ended_at is not None) == ([], True)

    def test_a_rest_whose_time_begins_when_it_is_due_and_not_while_nobody_worked(self, make, delivery, database):
        change(database, created_at=NOW - timedelta(days=9), due_at=NOW - timedelta(days=9))
        began = datetime.now(UTC)
        for _ in range(2):
            end = make(Outcome("delivered"), circuit_wait=lambda: 60.0)
            row, made = delivery()
            assert (row.status, row.stage, row.attempts, row.due_at) == (WAITING, LATER, 0, end.due_at)
            assert (made, row.uncounted_attempts) == ([], 0)
            assert began <= row.first_attempt_at
        assert row.first_attempt_at < end.at

    def test_after_a_replay_the_time_of_a_rest_begins_anew(self, make, delivery, database):
        asleep = {"circuit_wait": lambda: 60.0}
        change(database, first_attempt_at=datetime.now(UTC) - timedelta(seconds=31), error="no answer")
        assert make(Outcome("delivered"), **asleep).status == DEAD
        assert sum(replay(database, Filter())) == 1
        assert make(Outcome("delivered"), **asleep).status == WAITING

    def test_losses_and_what_is_handed_back(self, database, delivery):
        ends = [
            lambda claim, now: after_loss(claim, handler(), now),
            lambda claim, now: after_hand_back(claim, now, now),
            lambda claim, now: after_loss(claim, handler(10.0), now),
            lambda claim, now: after_loss(claim, handler(10.0), now),
        ]
        for number, (end, counted, losses) in enumerate(zip(ends, (0, 0, 0, 1), (1, 1, 2, 3), strict=True), 1):
            now = datetime.now(UTC)
            assert written(database, end(claimed(database, 7), now))
            row, made = delivery()
            assert (row.status, row.attempts, row.uncounted_attempts) == (WAITING, number, number - counted)
            assert (row.losses, made[-1].number, row.claimed_at) == (losses, number, None)
            assert made[-1].ended_at is not None
        assert [row.result for row in made] == ["lost", "handed back", "lost", "lost"]
        assert written(database, after_attempt(claimed(database, 7), RetrySchedule(), Outcome("failed"), now, now))
        assert delivery()[0].losses == 0

    def test_texts_of_any_kind(self, make, delivery):
        make(Outcome("failed", "byte \x00, half \ud800, Zürich \U0001f600", excerpt="\x00\udfff\"'{}%s"))
        row, [made] = delivery()
        assert row.error == made.error == "byte \ufffd, half ?, Zürich \U0001f600"
        assert made.excerpt == "\ufffd?\"'{}%s"


class TestTooLate:
    """Ends whose claim does not hold any more change nothing."""

    @pytest.mark.parametrize(
        "meanwhile",
        [
            {"status": DISCARDED, "stage": None, "claimed_at": None, "ended_at": NOW},
            {"stage": READY, "claimed_at": None},
            {"claimed_at": NOW},
        ],
        ids=["it has ended", "it was given up", "others have claimed it"],
    )
    @pytest.mark.parametrize("outcome", [Outcome("delivered"), Outcome("failed", "busy"), Outcome("refused", "gone")])
    def test_it_is_told_and_nothing_is_written(self, make, delivery, database, caplog, meanwhile, outcome):
        between = []
        make(lambda due: change(database, **meanwhile) or between.append(delivery()) or outcome)
        assert between == [delivery()]
        assert delivery()[1] == []
        assert "Attempt 1 of delivery 7 ended too late, result ignored" in caplog.text

    def test_only_it(self, database, delivery):
        with database.transaction() as connection:
            row = {"ref": 8, "event_ref": 5, "listener": "other", "status": WAITING}
            connection.execute(insert(deliveries).values(**row, created_at=NOW, due_at=NOW))
        now = datetime.now(UTC)
        late, early = claimed(database, 7), claimed(database, 8)
        with database.transaction() as connection:
            connection.execute(update(deliveries).where(deliveries.c.ref == 7).values(claimed_at=NOW))
        ends = [after_attempt(claim, RetrySchedule(), Outcome("delivered"), now, now) for claim in (late, early)]
        assert [written(database, end) for end in ends] == [False, True]
        with database.read() as connection:
            found = connection.execute(select(deliveries.c.status).order_by(deliveries.c.ref)).scalars().all()
            assert found == [WAITING, DELIVERED]
            assert connection.execute(select(attempts.c.delivery_ref)).scalars().all() == [8]


def test_a_run_that_does_not_return_has_failed_and_is_remembered(make, delivery):
    go, hung_runs = threading.Event(), HungRuns(99, list)
    make(lambda due: go.wait(60), timeout=0.05, hung_runs=hung_runs)
    row, [made] = delivery()
    assert (row.status, row.error, made.result) == (WAITING, "did not return within 0.05 s", "failed")
    assert hung_runs.by_listener() == {"page": 1}
    go.set()


@pytest.mark.parametrize("error", [KeyError("oops"), SystemExit(3)])
def test_a_handler_that_raises_has_failed(make, delivery, caplog, error):
    def act(due):
        raise error

    make(act)
    row, _ = delivery()
    assert (row.status, row.error.startswith(type(error).__name__)) == (WAITING, True)
    assert "Unhandled exception in the handler of" in caplog.text
