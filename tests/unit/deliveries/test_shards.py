"""Which shard a delivery is in: the same for all of one lock, in every process and release."""

from collections import Counter

import pytest
from sqlalchemy import select

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.shards import NUMBER, shard_of
from extension_kit.deliveries.tables import deliveries
from tests.support.recording import entry


@pytest.mark.parametrize(
    ("lock", "listener", "event_ref", "shard"),
    [
        ("oncall|t/1", "oncall", 1, 6),
        ("oncall|t/1", "other", 2, 6),
        ("oncall|Zürich \U0001f600", "oncall", 1, 31),
        (None, "oncall", 1, 16),
        (None, "oncall", 2, 10),
    ],
)
def test_it_never_changes(lock, listener, event_ref, shard):
    """Another one would let two workers make deliveries of one lock during an upgrade."""
    assert shard_of(lock, listener, event_ref, is_sqlite=False) == shard
    assert shard_of(lock, listener, event_ref, is_sqlite=True) == 0


@pytest.mark.parametrize("locks", [[f"oncall|t/{number}" for number in range(6400)], [None] * 6400])
def test_all_shards_have_about_the_same_number(locks):
    found = Counter(shard_of(lock, "oncall", ref, is_sqlite=False) for ref, lock in enumerate(locks))
    assert set(found) == set(range(NUMBER))
    assert max(found.values()) < 2 * 6400 / NUMBER


def test_deliveries_are_recorded_in_their_shards(database):
    Outbox(database).record([entry(str(n), "one", "two", series=f"t/{n}" if n % 2 else None) for n in range(20)])
    columns = (deliveries.c.lock, deliveries.c.listener, deliveries.c.event_ref, deliveries.c.shard)
    with database.read() as connection:
        rows = connection.execute(select(*columns)).all()
    assert [row.shard for row in rows] == [shard_of(*row[:3], is_sqlite=database.is_sqlite) for row in rows]
    assert len({row.shard for row in rows}) > 5 or database.is_sqlite
