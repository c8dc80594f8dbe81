"""One attempt, from its beginning to what is written down of it, on each store."""

import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, insert, select, update

from extension_kit.deliveries import attempt as module
from extension_kit.deliveries.attempt import Attempts, Handler
from extension_kit.deliveries.hung_runs import AbandonedRuns
from extension_kit.deliveries.replay import Filter, replay
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import DEAD, DELIVERED, DISCARDED, WAITING, attempts, deliveries, events
from extension_kit.errors import StoreUnavailable
from extension_kit.senders import Outcome
from tests.unit.deliveries.driving import drive

SOON = timedelta(seconds=60)


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
            return connection.execute(select(deliveries)).one(), made

    return read


@pytest.fixture
def abandoned():
    return AbandonedRuns(99, list)


@pytest.fixture
def make(database, delivery, abandoned):
    """Make an attempt of it: ``make(outcome or function, delays=(10,), ...)``."""

    def make(outcome, delays=(10.0,), timeout=30.0, is_ours=lambda connection: True, ref=7, by=None, **options):
        act = outcome if callable(outcome) else lambda due: outcome
        handlers[ref] = None if outcome is None else Handler(act, RetrySchedule(delays), timeout, **options)
        return drive((by or process(is_ours))(ref))

    def process(is_ours=lambda connection: True):
        return Attempts(database, lambda listener, connection: handlers[numbers[listener]], abandoned, is_ours)

    handlers, numbers = {}, {"page": 7, "other": 8}
    make.process = process
    return make


def change(database, **values):
    with database.transaction() as connection:
        connection.execute(update(deliveries).values(**values))


def test_what_was_delivered_has_ended(make, delivery):
    seen = []
    assert make(lambda due: seen.append(due) or Outcome("delivered", None, 204, "fine")) is None
    row, [made] = delivery()
    assert (row.status, row.attempts, row.error) == (DELIVERED, 1, None)
    assert row.ended_at == made.ended_at >= made.started_at
    assert (made.number, made.result, made.error, made.status, made.excerpt) == (1, "delivered", None, 204, "fine")
    [due] = seen
    assert (due.ref, due.number, due.listener, due.event_name, due.event_id) == (7, 1, "page", "a.b", "e-5")
    assert due.body == b'{"a": 1}'
    assert make(lambda due: pytest.fail("it has ended")) is None


def test_what_failed_is_due_again_by_the_schedule(make, delivery):
    due = make(Outcome("failed", "busy", 503))
    row, [made] = delivery()
    assert (row.status, row.attempts, row.error, row.ended_at) == (WAITING, 1, "busy", None)
    assert row.due_at == due
    assert timedelta(seconds=8) < due - made.ended_at < timedelta(seconds=12)
    assert (made.result, made.error, made.status) == ("failed", "busy", 503)


def test_each_attempt_that_failed_is_one_plain_line(make, caplog):
    for _ in range(2):
        make(Outcome("failed", "busy"), delays=(1800.0,))
    again, dead = (record.getMessage() for record in caplog.records)
    assert re.fullmatch(r"page of a\.b e-5: attempt 1 failed, retry in 1[6-9]\d\d(\.\d+)? s: busy", again)
    assert dead == "page of a.b e-5 is dead after attempt 2: busy"
    assert not any(record.exc_info for record in caplog.records)


def test_a_receiver_may_ask_for_more_time_and_a_function_for_any(make, delivery):
    due = make(Outcome("failed", "busy", 503, retry_after=500.0))
    assert due - delivery()[1][0].ended_at == timedelta(seconds=500)
    due = make(Outcome("failed", "not yet", retry_in=0.5), delays=(10.0, 10.0))
    assert due - delivery()[1][1].ended_at == timedelta(seconds=0.5)


@pytest.mark.parametrize("outcome", [Outcome("refused", "gone", 410), Outcome("failed", "busy")])
def test_what_cannot_get_better_or_has_no_attempt_left_is_a_dead_letter(make, delivery, outcome):
    assert make(outcome, delays=()) is None
    row, [made] = delivery()
    assert (row.status, row.error, made.result) == (DEAD, outcome.error, outcome.result)
    assert row.ended_at is not None


def test_attempts_before_a_replay_do_not_count(make, delivery, database):
    change(database, attempts=5, earlier=5)
    assert make(Outcome("failed", "busy"), delays=(10.0,)) is not None
    assert make(Outcome("failed", "busy"), delays=(10.0,)) is None
    row, made = delivery()
    assert (row.status, [each.number for each in made]) == (DEAD, [6, 7])


def test_an_attempt_whose_process_died_counts_and_is_written_off(make, delivery, database):
    change(database, attempts=1)
    with database.transaction() as connection:
        connection.execute(insert(attempts).values(delivery_ref=7, number=1, started_at=datetime.now(UTC)))
    assert make(Outcome("delivered")) is None
    _, [lost, made] = delivery()
    assert (lost.result, made.result, made.number) == ("lost", "delivered", 2)
    assert lost.ended_at is not None


def test_a_delivery_that_kills_its_process_every_time_ends_as_a_dead_letter(make, delivery, database):
    change(database, attempts=2)
    assert make(lambda due: pytest.fail("no attempt is left"), delays=(10.0,)) is None
    row, made = delivery()
    assert (row.status, row.error, made) == (DEAD, "the process died in every attempt", [])


def lose(database, *numbers, ref=7, since=timedelta(0)):
    """Have the processes that made attempts of a delivery die; the last of them just now."""
    with database.transaction() as connection:
        for number in numbers:
            row = {"delivery_ref": ref, "number": number, "started_at": datetime.now(UTC)}
            ended = {} if number == numbers[-1] else {"ended_at": datetime.now(UTC), "result": "lost"}
            connection.execute(insert(attempts).values(row | ended))
        begun = {"attempts": numbers[-1], "begun_at": datetime.now(UTC) - since}
        connection.execute(update(deliveries).where(deliveries.c.ref == ref).values(begun))


class TestSuspects:
    """Deliveries that were lost with their process again and again, of which one may kill it."""

    delays = (10.0, 100.0, 1000.0)

    @pytest.fixture
    def other(self, database, delivery):
        """Another delivery."""
        now = datetime.now(UTC)
        with database.transaction() as connection:
            row = {"ref": 8, "event_ref": 5, "listener": "other", "status": WAITING}
            connection.execute(insert(deliveries).values(**row, created_at=now, due_at=now))
        return 8

    def test_what_is_lost_once_is_made_again_at_once(self, make, delivery, database):
        lose(database, 1)
        assert make(Outcome("delivered"), delays=self.delays) is None
        assert [row.result for row in delivery()[1]] == ["lost", "delivered"]

    def test_what_is_lost_again_waits_by_the_schedule(self, make, delivery, database):
        lose(database, 1, 2)
        before = datetime.now(UTC)
        due = make(lambda due: pytest.fail("not yet"), delays=self.delays)
        assert before + timedelta(seconds=89) < due < datetime.now(UTC) + timedelta(seconds=111)
        row, made = delivery()
        assert (row.status, row.attempts, row.due_at) == (WAITING, 2, due)
        assert [row.result for row in made] == ["lost", "lost"]
        assert make(Outcome("delivered"), delays=self.delays) is None
        assert [row.result for row in delivery()[1]] == ["lost", "lost", "delivered"]

    def test_what_failed_in_between_is_not_suspected(self, make, delivery, database):
        assert make(Outcome("failed"), delays=self.delays) is not None
        lose(database, 2)
        assert make(Outcome("delivered"), delays=self.delays) is None

    def test_one_at_a_time_is_attempted_and_others_wait_without_being_counted(self, make, database, other):
        for ref in (7, other):
            lose(database, 1, 2, ref=ref)
            assert make(None if ref is None else Outcome("delivered"), delays=self.delays, ref=ref) is not None
        process = make.process()

        def meanwhile(due):
            again = make(lambda due: pytest.fail("another is made"), delays=self.delays, ref=other, by=process)
            assert again is not None
            return Outcome("delivered")

        assert make(meanwhile, delays=self.delays, by=process) is None
        with database.read() as connection:
            found = connection.execute(select(deliveries).order_by(deliveries.c.ref)).all()
        assert [(row.status, row.attempts) for row in found] == [(DELIVERED, 3), (WAITING, 2)]
        assert make(Outcome("delivered"), delays=self.delays, ref=other, by=process) is None

    def test_a_suspect_does_not_hold_up_the_others(self, make, database, other):
        lose(database, 1, 2)
        assert make(Outcome("delivered"), delays=self.delays) is not None
        process = make.process()

        def meanwhile(due):
            assert make(Outcome("delivered"), ref=other, by=process) is None
            return Outcome("delivered")

        assert make(meanwhile, delays=self.delays, by=process) is None

    def test_the_last_loss_makes_a_dead_letter(self, make, delivery, database):
        lose(database, 1, 2)
        assert make(lambda due: pytest.fail("no attempt is left"), delays=(10.0,)) is None
        assert delivery()[0].status == DEAD


class TestHandingBack:
    """What a worker that stops does with an attempt for which it cannot wait any longer."""

    def hand_back(self, make, outcome, **options):
        """Make an attempt that ends only after it was handed back."""
        process = make.process()

        def act(due):
            process.hand_back(due.ref)
            return outcome

        return make(act, by=process, **options)

    def test_it_does_not_count(self, make, delivery):
        for number in (1, 2, 3):
            assert self.hand_back(make, Outcome("failed", "the connection is closed"), delays=()) is None
            row, made = delivery()
            assert (row.status, row.attempts, row.earlier, row.error) == (WAITING, number, number, None)
            assert (made[-1].number, made[-1].result) == (number, "handed back")
            assert made[-1].ended_at is not None
        assert make(Outcome("failed", "busy"), delays=()) is None
        assert (delivery()[0].status, delivery()[0].error) == (DEAD, "busy")

    def test_should_it_succeed_all_the_same_it_is_not_made_again(self, make, delivery):
        assert self.hand_back(make, Outcome("delivered"), delays=()) is None
        row, [made] = delivery()
        assert (row.status, made.result) == (DELIVERED, "delivered")

    def test_should_it_succeed_when_others_have_begun_the_next_it_comes_too_late(self, make, delivery, caplog):
        ours = iter([True, False])
        process = make.process(lambda connection: next(ours))

        def slow(due):
            process.hand_back(7)
            assert make(Outcome("failed", "busy")) is not None
            return Outcome("delivered")

        assert make(slow, by=process) is None
        row, made = delivery()
        assert (row.status, row.error) == (WAITING, "busy")
        assert [row.result for row in made] == ["handed back", "failed"]
        assert "ended too late" in caplog.text

    def test_what_is_not_under_way_is_left_alone(self, make, delivery):
        process = make.process()
        process.hand_back(7)
        assert make(Outcome("failed", "busy"), by=process) is not None
        process.hand_back(7)
        row, [made] = delivery()
        assert (row.attempts, row.earlier, made.result) == (1, 0, "failed")

    def test_what_others_have_begun_meanwhile_is_not_touched(self, make, delivery, database):
        process = make.process()

        def frozen(due):
            assert make(lambda due: process.hand_back(7) or Outcome("failed", "busy")) is not None
            return Outcome("failed", "too late")

        assert make(frozen, by=process) is None
        row, made = delivery()
        assert (row.attempts, row.earlier) == (2, 0)
        assert [row.result for row in made] == ["lost", "failed"]

    def test_without_the_database_it_counts_as_lost(self, make, delivery, monkeypatch, caplog):
        def gone(*arguments):
            raise StoreUnavailable("gone", 5.0)

        monkeypatch.setattr("extension_kit.deliveries.attempt_rows.hand_back", gone)
        assert self.hand_back(make, Outcome("failed"), delays=()) is None
        assert "counts as lost" in caplog.text
        assert make(Outcome("delivered"), delays=()) is None
        assert delivery()[0].status == DEAD


class TestResting:
    """A target that rests for longer than the retry schedule lasts."""

    asleep = staticmethod(lambda: 60.0)

    def rest(self, make, **options):
        return make(lambda due: pytest.fail("it rests"), delays=(10.0, 20.0), rest=self.asleep, **options)

    def began(self, database, seconds, **values):
        change(database, begun_at=datetime.now(UTC) - timedelta(seconds=seconds), **values)

    def test_a_delivery_is_dead_when_its_schedule_would_have_been_over(self, make, delivery, database):
        assert make(Outcome("failed", "no answer"), delays=(10.0, 20.0)) is not None
        self.began(database, 29)
        assert self.rest(make) is not None
        self.began(database, 31)
        assert self.rest(make) is None
        row, made = delivery()
        assert (row.status, row.error, len(made)) == (DEAD, "the target rests: no answer", 1)
        assert row.ended_at is not None

    def test_its_time_begins_when_it_is_due_and_not_while_nobody_worked(self, make, delivery, database):
        change(database, created_at=datetime.now(UTC) - timedelta(days=9), due_at=datetime.now(UTC) - timedelta(days=9))
        assert self.rest(make) is not None
        began = delivery()[0].begun_at
        assert datetime.now(UTC) - began < timedelta(seconds=60)
        assert self.rest(make) is not None
        assert delivery()[0].begun_at == began

    def test_one_that_was_never_tried_is_dead_too(self, make, delivery, database):
        self.began(database, 31)
        assert self.rest(make) is None
        assert (delivery()[0].status, delivery()[0].error) == (DEAD, "the target rests")

    def test_a_target_that_does_not_rest_is_tried_however_late(self, make, delivery, database):
        self.began(database, 1e6)
        assert make(Outcome("delivered"), delays=(10.0, 20.0)) is None
        assert delivery()[0].status == DELIVERED

    def test_after_a_replay_the_time_begins_anew_and_the_error_does_not_grow(self, make, delivery, database, engine):
        self.began(database, 31, error="no answer")
        for _ in range(2):
            assert self.rest(make) is None
            assert (delivery()[0].status, delivery()[0].error) == (DEAD, "the target rests: no answer")
            assert sum(replay(database, engine, Filter())) == 1
            assert self.rest(make) is not None
            self.began(database, 31)


def test_a_delivery_to_nobody_is_discarded(make, delivery):
    assert make(None) is None
    row, made = delivery()
    assert (row.status, row.error, made) == (DISCARDED, "its listener is gone", [])


def test_a_target_that_rests_is_left_alone_and_no_attempt_is_counted(make, delivery):
    before = datetime.now(UTC)
    due = make(lambda due: pytest.fail("it rests"), rest=lambda: 60.0)
    row, made = delivery()
    assert (row.status, row.attempts, made) == (WAITING, 0, [])
    assert row.due_at == due
    assert before + SOON <= due <= datetime.now(UTC) + SOON


def test_who_has_lost_the_delivery_to_others_leaves_it_alone(make, delivery):
    assert make(lambda due: pytest.fail("others do it"), is_ours=lambda connection: False) is None
    row, made = delivery()
    assert (row.status, row.attempts, made) == (WAITING, 0, [])


def test_an_attempt_that_others_have_overtaken_no_longer_counts(make, delivery, database):
    ours = iter([True, False])
    outcome = Outcome("delivered")
    assert make(lambda due: change(database, attempts=2) or outcome, is_ours=lambda connection: next(ours)) is None
    row, [made] = delivery()
    assert (row.status, row.attempts, made.result) == (WAITING, 2, None)


def test_an_attempt_that_was_overtaken_does_not_take_the_job_away_while_the_delivery_waits(make, delivery, database):
    assert make(lambda due: change(database, attempts=2) or Outcome("failed")) <= datetime.now(UTC)
    assert (delivery()[0].status, delivery()[0].attempts) == (WAITING, 2)


class TestForgottenBeginning:
    """A database that crashes may take back that an attempt has begun, while the process that makes it lives on."""

    def forget(self, database):
        with database.transaction() as connection:
            connection.execute(delete(attempts))
            connection.execute(update(deliveries).values(attempts=0, begun_at=None))

    @pytest.mark.parametrize(
        ("outcome", "delays", "status"),
        [
            (Outcome("delivered"), (10.0,), DELIVERED),
            (Outcome("refused", "gone", 410), (10.0,), DEAD),
            (Outcome("failed", "busy"), (), DEAD),
            (Outcome("failed", "busy"), (10.0,), WAITING),
        ],
    )
    def test_it_counts_and_its_end_is_written_down(self, make, delivery, database, caplog, outcome, delays, status):
        again = make(lambda due: self.forget(database) or outcome, delays=delays)
        row, [made] = delivery()
        assert (row.status, row.attempts, row.error, made.number, made.result) == (
            status, 1, outcome.error, 1, outcome.result,
        )  # fmt: skip
        assert again == (row.due_at if status == WAITING else None)
        assert "too late" not in caplog.text

    def test_unless_others_have_taken_over(self, make, delivery, database, caplog):
        ours = iter([True, False])
        options = {"is_ours": lambda connection: next(ours)}
        assert make(lambda due: self.forget(database) or Outcome("delivered"), **options) is None
        assert (delivery()[0].status, delivery()[1]) == (WAITING, [])
        assert "ended too late" in caplog.text

    def test_or_somebody_has_ended_the_delivery(self, make, delivery, database):
        def act(due):
            self.forget(database)
            change(database, status=DISCARDED)
            return Outcome("delivered")

        assert make(act) is None
        assert (delivery()[0].status, delivery()[1]) == (DISCARDED, [])


@pytest.mark.parametrize("case", ["discarded", "lost too often", "at rest for too long"])
def test_the_job_ends_with_a_delivery_that_ends_without_an_attempt(database, delivery, abandoned, case):
    """In the same transaction, so that a crash takes back both or neither."""
    ended = []
    handler = Handler(print, RetrySchedule(()), 1.0, (lambda: 60.0) if case.startswith("at rest") else lambda: 0.0)
    change(database, attempts=int(case.startswith("lost")), begun_at=datetime.now(UTC) - SOON)

    def end_job(connection):
        row = connection.execute(select(deliveries)).one()
        ended.append(row.status)

    found = None if case == "discarded" else handler
    attempt = Attempts(database, lambda *_: found, abandoned, end_job=end_job)
    assert drive(attempt(7)) is None
    assert ended == [delivery()[0].status]
    assert ended != [WAITING]


def test_a_run_that_does_not_return_has_failed_and_is_remembered(make, delivery, abandoned):
    go = threading.Event()
    assert make(lambda due: go.wait(60), timeout=0.05) is not None
    row, [made] = delivery()
    assert (row.status, row.error, made.result) == (WAITING, "did not return within 0.05 s", "failed")
    assert abandoned.by_listener() == {"page": 1}
    go.set()


@pytest.mark.parametrize("error", [KeyError("oops"), SystemExit(3)])
def test_a_handler_that_raises_has_failed(make, delivery, caplog, error):
    def act(due):
        raise error

    assert make(act) is not None
    row, _ = delivery()
    assert row.error.startswith(type(error).__name__)
    assert "Unhandled exception in the handler of" in caplog.text


def test_errors_are_kept_in_part(make, delivery):
    make(Outcome("failed", "x" * 100_000))
    row, [made] = delivery()
    assert row.error == made.error
    assert 1000 < len(row.error) < 5000


def test_what_no_database_stores_is_replaced_in_errors(make, delivery):
    make(Outcome("failed", "byte \x00, half \ud800, Zürich", excerpt="\x00\udfff"))
    row, [made] = delivery()
    assert row.error == made.error == "byte \ufffd, half ?, Zürich"
    assert made.excerpt == "\ufffd?"


def test_a_database_that_is_gone_at_the_beginning_is_asked_again_later(make, delivery, database, monkeypatch):
    def gone(connection, ref):
        raise StoreUnavailable("The database is gone", 5.0)

    monkeypatch.setattr(Attempts, "_begin", lambda self, connection, ref: gone(connection, ref))
    before = datetime.now(UTC)
    due = make(Outcome("delivered"))
    assert before + timedelta(seconds=5) <= due <= datetime.now(UTC) + timedelta(seconds=5)


def test_what_succeeded_is_written_down_when_the_database_is_back(make, delivery, monkeypatch):
    failures = [StoreUnavailable("The database is gone", 5.0)] * 2
    end = Attempts._end

    def sometimes(self, *arguments):
        if failures:
            raise failures.pop()
        return end(self, *arguments)

    monkeypatch.setattr(module, "_PAUSE", 0.01)
    monkeypatch.setattr(Attempts, "_end", sometimes)
    runs = []
    assert make(lambda due: runs.append(due) or Outcome("delivered")) is None
    assert delivery()[0].status == DELIVERED
    assert len(runs) == 1


def test_a_database_that_stays_away_costs_another_attempt(make, delivery, monkeypatch, caplog):
    monkeypatch.setattr(module, "_OUTAGE", 0.0)
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    monkeypatch.setattr(Attempts, "_end", lambda *_: (_ for _ in ()).throw(StoreUnavailable("gone", 5.0)))
    assert make(Outcome("delivered")) is not None
    assert "counts as lost" in caplog.text
    assert delivery()[1][0].result is None
