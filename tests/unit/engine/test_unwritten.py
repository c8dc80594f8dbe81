"""What a worker has not written yet."""

from datetime import UTC, datetime

from extension_kit.deliveries.attempt import after_attempt
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import BEHIND, DELIVERED, READY
from extension_kit.engine.unwritten import Unwritten
from extension_kit.senders import Outcome


def end(claim):
    now = datetime.now(UTC)
    return after_attempt(claim, RetrySchedule(), Outcome("delivered"), now, now)


def test_nothing_is_written_at_first(stored):
    unwritten = Unwritten()
    assert not unwritten
    unwritten.release([], READY)
    assert not unwritten
    with stored.database.transaction() as connection:
        assert unwritten.write(stored.queue, connection) == set()


def test_ends_claims_given_up_and_locks_are_written(stored):
    refs = stored.add(*"1234", series="t/1")
    (alone,) = stored.add("5")
    first, second, third, other = stored.claim(*refs[:3], alone)
    unwritten = Unwritten()
    unwritten.ends.append(end(first))
    unwritten.release([second, third], BEHIND)
    unwritten.release([other], READY)
    unwritten.locks.add("oncall|t/1")
    assert unwritten
    assert unwritten.claims() == [first, second, third, other]
    with stored.database.transaction() as connection:
        assert unwritten.write(stored.queue, connection) == {refs[0]}
    assert stored.row(refs[0]).status == DELIVERED
    assert stored.stages(*refs[1:], alone) == [READY, BEHIND, BEHIND, READY]  # the next one is called up


def test_what_was_written_without_an_answer_changes_nothing_again(stored):
    refs = stored.add("1", "2", series="t/1")
    claims = stored.claim(*refs)
    unwritten = Unwritten()
    unwritten.ends.append(end(claims[0]))
    unwritten.release(claims[1:], BEHIND)
    unwritten.locks.add("oncall|t/1")
    with stored.database.transaction() as connection:
        unwritten.write(stored.queue, connection)
    before = [stored.row(ref) for ref in refs]
    with stored.database.transaction() as connection:
        assert unwritten.write(stored.queue, connection) == set()
    assert [stored.row(ref) for ref in refs] == before
    assert stored.attempts(refs[0]) == [(1, "delivered")]
