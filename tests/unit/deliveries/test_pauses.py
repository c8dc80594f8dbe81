"""Pauses of receivers in the database: made and ended once, bounded, and forgotten when nobody needs them."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from extension_kit.deliveries import pauses
from extension_kit.deliveries.action_rows import add_receiver_action
from extension_kit.deliveries.pauses import TooManyPaused, forget_pauses, pause, paused, read_pauses, resume
from extension_kit.deliveries.tables import DEAD, DELIVERED, actions, subscriptions
from tests.support.queues import Deliveries, in_


@pytest.fixture
def stored(database):
    return Deliveries(database)


def call(database, function, *arguments):
    with database.transaction() as connection:
        return function(connection, *arguments)


def known(database):
    """The keys of receivers that workers know to be paused, and of those that they know to be resumed."""
    found = call(database, read_pauses)
    return set(found.paused), set(found.resumed)


def test_a_receiver_is_paused_and_resumed_once(database):
    before = datetime.now(UTC)
    assert call(database, pause, "oncall", "anna")
    assert not call(database, pause, "oncall", "bert")
    assert call(database, pause, "subscription:7", "bert")
    found = call(database, paused)
    assert [(key, each.by) for key, each in found.items()] == [("oncall", "anna"), ("subscription:7", "bert")]
    assert before <= found["oncall"].since <= datetime.now(UTC)
    assert known(database) == ({"oncall", "subscription:7"}, set())
    assert call(database, resume, "oncall")
    assert not call(database, resume, "oncall")
    assert not call(database, resume, "other")
    assert call(database, paused).keys() == {"subscription:7"}
    assert known(database) == ({"subscription:7"}, {"oncall"})
    resumed = call(database, read_pauses).resumed["oncall"]
    assert found["oncall"].since < resumed <= datetime.now(UTC)
    assert call(database, pause, "oncall", "bert")
    again = call(database, paused)["oncall"]
    assert (again.since > resumed, again.by) == (True, "bert")
    assert known(database) == ({"oncall", "subscription:7"}, set())


def test_texts_of_any_length_are_kept(database):
    long = "ä" * 1000 + "@/events/\x00"
    assert call(database, pause, long, long)
    assert not call(database, pause, long, "anna")
    assert call(database, resume, long)
    assert call(database, paused) == {}


def test_more_than_the_most_are_refused(database, monkeypatch):
    monkeypatch.setattr(pauses, "MOST", 2)
    for key in "ab":
        call(database, pause, key, "anna")
    with pytest.raises(TooManyPaused, match="resume some of them first"):
        call(database, pause, "c", "anna")
    assert not call(database, pause, "a", "anna")  # no further one
    assert call(database, paused).keys() == {"a", "b"}
    call(database, resume, "a")
    assert call(database, pause, "c", "anna")


def test_what_was_resumed_is_known_as_long_as_something_waits_that_was_attempted_before(stored):
    database = stored.database
    (ref,) = stored.add("1", first_attempt_at=in_(-60))
    stored.add("2", listener="other", first_attempt_at=in_(60))
    stored.add("3", listener="other", first_attempt_at=in_(-60), status=DEAD, stage=None)
    stored.add("4", listener="other")
    for key in ("oncall", "other"):
        call(database, pause, key, "anna")
    assert forget_pauses(database) == 0
    for key in ("oncall", "other"):
        call(database, resume, key)
    assert forget_pauses(database) == 1
    assert known(database) == (set(), {"oncall"})
    stored.set(ref, status=DELIVERED, stage=None)
    assert forget_pauses(database) == 1
    assert forget_pauses(database) == 0
    assert known(database) == (set(), set())


def test_subscriptions_that_are_gone_are_known_as_long_as_something_waits(stored):
    database = stored.database
    row = {"protocol": "p", "name": "n", "sender": "http", "target": {"url": "http://x"}, "created_at": in_(0)}
    there = call(
        database, lambda connection: connection.execute(insert(subscriptions).values(row)).inserted_primary_key[0]
    )
    (ref,) = stored.add("1", listener=f"subscription:{there + 1}")
    keys = (
        "oncall",
        f"subscription:{there}",
        f"subscription:{there + 1}",
        f"subscription:{there + 2}",
        "subscription:x",
    )
    for key in keys:
        call(database, pause, key, "anna")
    assert forget_pauses(database) == 1
    stored.set(ref, status=DELIVERED, stage=None)
    assert forget_pauses(database) == 1
    assert call(database, paused).keys() == {"oncall", f"subscription:{there}", "subscription:x"}


def test_a_row_tells_of_the_action(database):
    call(database, add_receiver_action, "pause", "oncall", "anna")
    with database.read() as connection:
        (row,) = connection.execute(actions.select()).all()
    assert (row.kind, row.filter, row.made_by, row.expected, row.changed, row.error) == (
        "pause", "oncall", "anna", 1, 1, None,
    )  # fmt: skip
    assert row.started_at == row.seen_at == row.ended_at
