"""Deliveries of a renamed listener are handed over in their order, and into the shards of their new locks."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from extension_kit.deliveries.adoption import AdoptionError, adopt
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.shards import shard_of
from extension_kit.deliveries.tables import (
    CLAIMED,
    DEAD,
    DELIVERED,
    LATER,
    READY,
    WAITING,
)
from tests.support.databases import opened
from tests.support.driving import candidates, claimed
from tests.support.recording import all_of, change, entry

NOW = datetime.now(UTC)
OLD, NEW = "oncall.page@/events/page", "oncall.call@/events/call"


@pytest.fixture
def record(database):
    outbox = Outbox(database)

    def record(listener, *ids, series="t/1"):
        before = len(all_of(database))
        outbox.record([entry(each, listener, series=series) for each in ids])
        return [row.ref for row in all_of(database)][before:]

    return record


def adopted(database, old=OLD, new=NEW):
    with database.transaction() as connection:
        return adopt(connection, old, new)


def test_what_waits_begins_anew_and_what_is_dead_stays_dead(database, record):
    refs = record(OLD, *"abcd")
    tried = {"attempts": 3, "losses": 2, "error": "busy", "first_attempt_at": NOW}
    change(database, refs[:1], stage=LATER, due_at=NOW + timedelta(hours=1), **tried)
    change(database, refs[1:2], status=DEAD, stage=None, ended_at=NOW, **tried)
    change(database, refs[2:3], status=DELIVERED, stage=None, ended_at=NOW)
    delivered = all_of(database)[2]
    assert adopted(database) == (2, 1)
    first, dead, *rest = all_of(database)
    assert (first.status, first.stage, first.attempts, first.uncounted_attempts) == (WAITING, READY, 3, 3)
    assert (first.losses, first.error, first.first_attempt_at) == (0, None, None)
    assert NOW <= first.due_at <= datetime.now(UTC)
    assert (dead.status, dead.stage, dead.attempts, dead.uncounted_attempts, dead.error) == (DEAD, None, 3, 0, "busy")
    assert [row.listener for row in (first, dead, rest[1])] == [NEW] * 3
    assert rest[0] == delivered


def test_locks_and_shards_are_those_of_the_new_listener(database, record):
    for number in range(12):
        record(OLD, f"{number}-a", f"{number}-b", series=f"t|{number}")
    record(NEW, "new", series="t|3")
    free = record(OLD, "free", series=None)
    change(database, [row.ref for row in all_of(database)][:2], status=DEAD, stage=None)
    adopted(database)
    rows = all_of(database)
    assert {row.listener for row in rows} == {NEW}
    for row in rows:
        assert row.lock == (None if row.ref in free else f"{NEW}|{row.series}")
        if row.lock is not None:
            assert row.shard == shard_of(row.lock, NEW, row.event_ref, is_sqlite=database.is_sqlite)
    assert len({row.shard for row in rows}) > 4 or database.is_sqlite


def test_both_listeners_deliveries_come_in_the_order_of_their_events(database, record):
    refs = [*record(OLD, "1"), *record(NEW, "2"), *record(OLD, "3", "4"), *record(NEW, "5")]
    assert adopted(database) == (3, 0)
    found = candidates(database, NEW)
    assert {each.head for each in found} == {refs[0]}


def test_what_is_being_attempted_has_to_end_first(database, record):
    refs = record(OLD, "a", "b")
    claimed(database, refs[0])
    before = all_of(database)
    with pytest.raises(AdoptionError, match=f"delivery {refs[0]} is being attempted right now: try again in a moment"):
        adopted(database)
    assert all_of(database) == before


def test_attempts_of_the_new_listener_go_on(database, record):
    record(OLD, "a")
    (busy,) = record(NEW, "b")
    claim = claimed(database, busy)
    adopted(database)
    row = all_of(database)[1]
    assert (row.stage, row.claimed_at) == (CLAIMED, claim.claimed_at)


def test_no_worker_claims_what_is_being_handed_over(postgresql_url):
    with opened(postgresql_url) as database:
        Outbox(database).record([entry("a", OLD, series="t/1")])
        (ref,) = (row.ref for row in all_of(database))
        found, begun = [], threading.Event()

        def claim():
            with opened(postgresql_url, upgraded=False) as own:
                begun.set()
                found.append(claimed(own, ref))

        thread = threading.Thread(target=claim)
        with database.transaction() as connection:
            adopt(connection, OLD, NEW)
            thread.start()
            assert begun.wait(30)
        thread.join(30)
        assert found[0] is None or found[0].due.listener == NEW


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (OLD, OLD, "both are the same listener"),
        ("subscription:1", NEW, "subscription:1 is a subscription"),
        (OLD, "page", "page is no listener's key, which looks like"),
        ("oncall.other@/x", NEW, f"nothing waits for oncall.other@/x, .* deliveries wait for {OLD}"),
    ],
)
def test_keys_that_do_not_fit_change_nothing(database, record, old, new, message):
    record(OLD, "a")
    before = all_of(database)
    with pytest.raises(AdoptionError, match=message):
        adopted(database, old, new)
    assert all_of(database) == before


def test_an_event_that_both_have_got_is_named(database, record):
    (first,), (second,) = record(OLD, "a"), record(NEW, "a")
    with pytest.raises(AdoptionError, match=rf"delivery {second} beside delivery {first}: .* discard {first}`"):
        adopted(database)
