"""The statements of the queue, on both stores."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from extension_kit.deliveries.attempt import after_attempt, after_hand_back, before_attempt
from extension_kit.deliveries.call_up import call_up
from extension_kit.deliveries.handler import Handler
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import BEHIND, CLAIMED, DELIVERED, DISCARDED, LATER, READY, WAITING
from extension_kit.deliveries.waiting import discard_waiting
from extension_kit.engine.candidates import Line
from extension_kit.senders import Outcome
from tests.support.postgresql import KEPT_WAITING
from tests.support.waiting import wait_until

SCHEDULE = RetrySchedule((60.0, 60.0))
NOW = datetime.now(UTC)
LATE = NOW + timedelta(hours=1)
DELIVERY = Outcome("delivered")


def ended(claim, outcome=DELIVERY):
    """The end of a claim after an attempt."""
    return after_attempt(claim, SCHEDULE, outcome, claim.claimed_at, datetime.now(UTC))


def test_a_claim_has_the_delivery_with_its_event(stored):
    (ref,) = stored.add("1", series="t/1", body=b'{"a":1}', losses=1, error="before")
    (claim,) = stored.claim(ref, now=NOW)
    assert (claim.due.ref, claim.due.number, claim.due.event_id, claim.due.body) == (ref, 1, "1", b'{"a":1}')
    assert (claim.due.listener, claim.due.series, claim.due.place) == ("oncall", "t/1", 1)
    assert (claim.lock, claim.losses, claim.error) == ("oncall|t/1", 1, "before")
    assert claim.claimed_at == stored.row(ref).claimed_at == NOW
    assert stored.call("claimed", stored.shards) == [claim]
    assert stored.call("claimed", stored.shards, {ref}) == []
    assert stored.claim(ref) == []


def test_only_what_is_ready_or_behind_is_claimed(stored):
    ready, behind, later, over = stored.add("1", "2", "3", "4")
    stored.set(behind, stage=BEHIND)
    stored.set(later, stage=LATER)
    stored.set(over, stage=None, status=DELIVERED)
    assert [claim.due.ref for claim in stored.claim(over, later, behind, ready)] == [ready, behind]


@pytest.mark.parametrize(
    ("outcome", "status", "stage", "is_over"),
    [
        (Outcome("delivered"), DELIVERED, None, True),
        (Outcome("failed", "no", status=500, excerpt="oops"), WAITING, LATER, False),
        (Outcome("failed", "no", retry_in=0.0), WAITING, READY, False),
        (Outcome("refused", "never"), "dead", None, True),
    ],
)
def test_an_end_is_written_with_its_attempt(stored, outcome, status, stage, is_over):
    (ref,) = stored.add("1")
    (claim,) = stored.claim(ref)
    end = ended(claim, outcome)
    assert stored.call("end", [end]) == {ref}
    row = stored.row(ref)
    assert (row.status, row.stage, row.attempts, row.error) == (status, stage, 1, outcome.error)
    assert (row.claimed_at, row.first_attempt_at) == (None, claim.claimed_at)
    assert row.due_at == (end.due_at or stored.row(ref).due_at)
    assert (row.ended_at == end.at) is is_over
    assert stored.attempts(ref) == [(1, outcome.result)]


def test_an_end_whose_claim_does_not_hold_changes_nothing(stored):
    kept, given_up, again, discarded = stored.add("1", "2", "3", "4")
    claims = stored.claim(kept, given_up, again, discarded)
    stored.call("release", claims[1:3], READY)
    stored.claim(again)
    stored.set(discarded, status=DISCARDED, stage=None)
    before = [stored.row(ref) for ref in (given_up, again, discarded)]
    assert stored.call("end", [ended(claim) for claim in reversed(claims)]) == {kept}
    assert [stored.row(ref) for ref in (given_up, again, discarded)] == before
    assert [stored.attempts(ref) for ref in (kept, given_up, again, discarded)] == [[(1, "delivered")], [], [], []]


def test_an_end_without_an_attempt_counts_none(stored):
    (ref,) = stored.add("1")
    (claim,) = stored.claim(ref)
    rests = Handler(lambda due: Outcome("delivered"), SCHEDULE, 1.0, lambda: 60.0)
    end = before_attempt(claim, rests, datetime.now(UTC))
    stored.call("end", [end])
    row = stored.row(ref)
    assert (row.status, row.stage, row.attempts, row.due_at) == (WAITING, LATER, 0, end.due_at)
    assert stored.attempts(ref) == []


def test_what_is_handed_back_does_not_count(stored):
    (ref,) = stored.add("1")
    (claim,) = stored.claim(ref)
    stored.call("end", [after_hand_back(claim, claim.claimed_at, datetime.now(UTC))])
    row = stored.row(ref)
    assert (row.stage, row.attempts, row.uncounted_attempts) == (READY, 1, 1)
    assert stored.attempts(ref) == [(1, "handed back")]


def test_the_first_attempt_keeps_its_time(stored):
    (ref,) = stored.add("1")
    (claim,) = stored.claim(ref, now=NOW)
    stored.call("end", [ended(claim, Outcome("failed", "no", retry_in=0.0))])
    (claim,) = stored.claim(ref)
    assert (claim.due.number, claim.first_attempt_at) == (2, NOW)
    stored.call("end", [ended(claim)])
    assert stored.row(ref).first_attempt_at == NOW
    assert stored.attempts(ref) == [(1, "failed"), (2, "delivered")]


def test_claims_are_given_up_only_while_they_hold(stored):
    first, second = stored.add("1", "2", series="t/1")
    claims = stored.claim(first, second)
    stored.call("release", claims[:1], READY)
    (anew,) = stored.claim(first)
    stored.call("release", claims, BEHIND)
    assert stored.stages(first, second) == [CLAIMED, BEHIND]
    assert (stored.row(first).claimed_at, stored.row(second).claimed_at) == (anew.claimed_at, None)


def test_claims_that_a_crash_has_taken_back_are_restored_unless_something_has_changed(stored):
    refs = stored.add("back", "kept", "taken", "ended", "attempted")
    back, kept, taken, over, attempted = refs
    claims = stored.claim(*refs, now=NOW)
    stored.set(back, stage=READY, claimed_at=None)
    stored.set(taken, claimed_at=LATE)
    stored.set(over, status=DELIVERED, stage=None, claimed_at=None)
    stored.set(attempted, stage=READY, claimed_at=None, attempts=1)
    assert stored.call("restore", claims) == {back, kept}
    assert stored.stages(*refs) == [CLAIMED, CLAIMED, CLAIMED, None, READY]
    assert [stored.row(ref).claimed_at for ref in (back, kept, taken)] == [NOW, NOW, LATE]


def test_the_next_of_a_lock_is_called_up_if_it_is_behind(stored):
    first, second, third = stored.add("1", "2", "3", series="t/1")
    other, another = stored.add("4", "5", series="t/2")
    stored.call_up("oncall|t/1", "oncall|t/2", "nobody|t/1")
    assert stored.stages(first, second, third, other, another) == [READY, BEHIND, BEHIND, READY, BEHIND]
    stored.set(first, status=DELIVERED, stage=None)
    stored.set(other, stage=LATER)
    stored.call_up("oncall|t/1", "oncall|t/2")
    assert stored.stages(second, third, other, another) == [READY, BEHIND, LATER, BEHIND]


def test_what_is_discarded_meanwhile_does_not_keep_the_next_from_being_called_up(stored):
    """The next one is being discarded, by somebody who sees the first one still claimed."""
    first, second, third = stored.add("1", "2", "3", series="t/1")
    (claim,) = stored.claim(first)
    if stored.database.is_sqlite:  # one transaction after the other
        discarding = iter(discard_waiting(stored.database, Filter(refs=[second])))
        next(discarding)
        stored.call("end", [ended(claim)])
        stored.call_up(claim.lock)
    else:
        with stored.database.transaction() as connection:
            connection.exec_driver_sql(f"UPDATE deliveries SET status = 'discarded', stage = NULL WHERE ref = {second}")

            def end():
                with stored.database.transaction() as other:
                    stored.queue.end(other, [ended(claim)])
                    call_up(other, [claim.lock])

            ending = threading.Thread(target=end)
            ending.start()
            wait_until(lambda: connection.exec_driver_sql(KEPT_WAITING).scalar_one())
        ending.join(20)
    assert stored.stages(first, second, third) == [None, None, READY]


def test_what_cannot_be_claimed_is_set_aside(stored):
    ready, other, claimed = stored.add("1", "2", "3")
    stored.claim(claimed)
    stored.call("set_aside", [ready, claimed], LATER)
    stored.call("set_aside", [other], BEHIND)
    assert stored.stages(ready, other, claimed) == [LATER, BEHIND, CLAIMED]


def test_what_is_due_wakes_and_the_earliest_of_the_rest_is_known(stored):
    due, soon, late, ready = stored.add("1", "2", "3", "4")
    stored.set(due, stage=LATER, due_at=NOW)
    stored.set(soon, stage=LATER, due_at=LATE)
    stored.set(late, stage=LATER, due_at=LATE + timedelta(hours=1))
    assert stored.call("next_due", stored.shards) == NOW
    stored.call("wake", stored.shards, NOW)
    assert stored.stages(due, soon, late, ready) == [READY, LATER, LATER, READY]
    assert stored.call("next_due", stored.shards) == LATE
    stored.call("bring_back", [soon, ready], NOW)
    assert stored.row(soon).due_at == NOW
    assert stored.stages(soon, late) == [READY, LATER]
    stored.set(late, stage=READY)
    assert stored.call("next_due", stored.shards) is None


def test_listeners_with_ready_deliveries_are_found_in_turn(stored):
    for listener in ("a", "B", "c", "ä", "later", "claimed"):
        stored.add(listener, listener=listener)
    stored.set(*stored.add("more", listener="later"), *[5], stage=LATER)
    stored.claim(6)
    assert stored.call("listeners", stored.shards, "", 10) == (["B", "a", "c", "ä"], "")  # by their bytes
    assert stored.call("listeners", stored.shards, "B", 2) == (["a", "c"], "c")
    assert stored.call("listeners", stored.shards, "ä", 2) == ([], "")
    assert stored.call("listeners", stored.shards, "", 2, {"B", "c"}) == (["a", "ä"], "ä")


def test_candidates_are_the_oldest_and_know_the_first_of_their_lock(stored):
    first, second = stored.add("1", "2", series="t/1", body=b"12345")
    alone, other = stored.add("3", "4")
    stored.add("6", listener="another")
    stored.set(first, stage=CLAIMED)
    stored.set(second, stage=READY, losses=2)
    found, is_all = stored.call("candidates", stored.shards, "oncall", 10)
    assert is_all
    assert [tuple(candidate) for candidate in found] == [
        (second, "oncall|t/1", 2, 5, first),
        (alone, None, 0, 2, alone),
        (other, None, 0, 2, other),
    ]
    some, is_all = stored.call("candidates", stored.shards, "oncall", 2)
    assert [candidate.ref for candidate in some] == [second, alone]
    assert not is_all


def test_followers_are_those_behind_in_order(stored):
    refs = stored.add(*"12345", series="t/1")
    others = stored.add(*"678", series="t/2")
    stored.set(refs[2], status=DELIVERED, stage=None)
    stored.set(refs[3], stage=LATER)
    lines = [Line("oncall|t/1", refs[0], 4), Line("oncall|t/2", 0, 2), Line("nobody|t/1", 0, 5)]
    found = stored.call("followers", lines)
    assert {lock: [(each.ref, each.is_due) for each in line] for lock, line in found.items()} == {
        "oncall|t/1": [(refs[1], True), (refs[3], False), (refs[4], True)],
        "oncall|t/2": [(others[0], True), (others[1], True)],
        "nobody|t/1": [],
    }


def test_only_waiting_deliveries_that_are_not_claimed_are_held(stored):
    ready, claimed, over, behind = stored.add("1", "2", "3", "4")
    stored.claim(claimed)
    stored.set(over, status=DELIVERED, stage=None)
    stored.set(behind, stage=BEHIND)
    assert stored.call("hold", [ready, claimed, over, behind]) == {ready, behind}
