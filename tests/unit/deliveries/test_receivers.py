"""Receivers of deliveries: which there are, what waits for them, and which keys are known."""

import pytest
from sqlalchemy import insert

from extension_kit.deliveries.pauses import pause
from extension_kit.deliveries.receivers import find_receivers, is_known, number_waiting
from extension_kit.deliveries.tables import DEAD, DELIVERED, subscriptions
from tests.support.queues import Deliveries, in_


@pytest.fixture
def stored(database):
    return Deliveries(database)


def test_paused_ones_come_first_then_those_with_the_most_that_waits(stored):
    stored.add("1", listener="a", status=DELIVERED, stage=None)
    stored.add("2", listener="b", status=DEAD, stage=None)
    stored.add("3", "4", listener="c")
    stored.add("5", listener="d")
    stored.add("6", "7", listener="e", status=DEAD, stage=None)
    with stored.database.transaction() as connection:
        for key in ("d", "without"):
            pause(connection, key, "anna")
        found = find_receivers(connection, 10)
        assert [(each.key, each.waiting, each.dead) for each in found] == [
            ("d", 1, 0), ("without", 0, 0), ("c", 2, 0), ("e", 0, 2), ("b", 0, 1), ("a", 0, 0),
        ]  # fmt: skip
        assert [each.paused and each.paused.by for each in found] == ["anna", "anna", None, None, None, None]
        assert [each.key for each in find_receivers(connection, 1)] == ["d", "without", "c"]
        assert [number_waiting(connection, key) for key in "cdx"] == [2, 1, 0]


def test_keys_of_deliveries_subscriptions_and_pauses_are_known(stored):
    stored.add("1", listener="oncall", status=DELIVERED, stage=None)
    row = {"protocol": "p", "name": "n", "sender": "http", "target": {"url": "http://x"}, "created_at": in_(0)}
    with stored.database.transaction() as connection:
        ref = connection.execute(insert(subscriptions).values(row).returning(subscriptions.c.ref)).scalar_one()
        pause(connection, "paused", "anna")
        assert [is_known(connection, key) for key in ("oncall", "paused", f"subscription:{ref}")] == [True] * 3
        unknown = ("on", "subscription:", f"subscription:{ref + 1}", "subscription:0", f"subscription:{2**70}", "\x00")
        assert [is_known(connection, key) for key in unknown] == [False] * 6
