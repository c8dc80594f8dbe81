"""All waiting deliveries are made ready, so that workers find out anew which of them they may make."""

from datetime import UTC, datetime, timedelta

import pytest

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.requeue import requeue
from extension_kit.deliveries.shards import shard_of
from extension_kit.deliveries.tables import BEHIND, CLAIMED, DEAD, DELIVERED, DISCARDED, LATER, READY
from tests.support.driving import candidates, claimed
from tests.support.recording import all_of, change, entry, stages

NOW = datetime.now(UTC)


@pytest.fixture
def refs(database):
    """Deliveries of one lock in every stage and status."""
    Outbox(database).record([entry(str(n), series="t/1") for n in range(8)])
    refs = [row.ref for row in all_of(database)]
    change(database, refs[1:2], stage=LATER, due_at=NOW + timedelta(days=1), first_attempt_at=NOW)
    change(database, refs[2:3], stage=CLAIMED, claimed_at=NOW)
    for ref, status in zip(refs[3:6], (DEAD, DELIVERED, DISCARDED), strict=True):
        change(database, [ref], status=status, stage=None, ended_at=NOW)
    change(database, refs[6:7], stage=None)
    assert stages(database) == [READY, LATER, CLAIMED, None, None, None, None, BEHIND]
    return refs


def all_but_stages(database):
    return [row._asdict() | {"stage": None} for row in all_of(database)]


def made(database, **options):
    with database.transaction() as connection:
        return requeue(connection, **options)


def test_only_what_waits_and_is_not_being_attempted(database, refs):
    before = all_but_stages(database)
    assert made(database) == 4
    assert stages(database) == [READY, LATER, CLAIMED, None, None, None, READY, READY]
    assert all_but_stages(database) == before


def test_what_is_not_due_stays_out_of_sight(database, refs):
    made(database)
    found = candidates(database, "oncall")
    assert {each.ref for each in found} == {refs[0], *refs[6:]}
    assert {each.head for each in found} == {refs[0]}


def test_of_nothing_is_nothing(database):
    assert made(database) == 0
    assert made(database, from_elsewhere=True) == 0


def test_what_comes_from_another_database_is_put_into_shards_and_belongs_to_no_worker(database, refs, monkeypatch):
    monkeypatch.setattr("extension_kit.deliveries.resharding._BATCH", 2)
    Outbox(database).record([entry("other", "one", "two")])
    change(database, shard=99)
    assert made(database, from_elsewhere=True) == 7
    rows = all_of(database)
    assert [row.stage for row in rows] == [READY, LATER, READY] + [None] * 3 + [READY] * 4
    assert {row.claimed_at for row in rows} == {None}
    ended = [row for row in rows if row.status in (DELIVERED, DISCARDED)]
    assert {row.shard for row in ended} == {99}  # they are never made again
    for row in rows:
        place = shard_of(row.lock, row.listener, row.event_ref, is_sqlite=database.is_sqlite)
        assert row in ended or row.shard == place
    assert claimed(database, refs[2]) is not None
