"""What the queue does on PostgreSQL beside others, and in shards."""

import pytest

from extension_kit.deliveries.shards import shard_of
from extension_kit.deliveries.tables import LATER, READY
from tests.support.databases import opened
from tests.support.queues import Deliveries, in_


@pytest.fixture
def stored(used_postgresql_url):
    with opened(used_postgresql_url, upgraded=False) as database:
        yield Deliveries(database)


@pytest.fixture
def locked(stored):
    """Rows are locked by another transaction, for the whole test."""
    with stored.database.transaction() as connection:

        def lock(*refs):
            connection.exec_driver_sql(f"SELECT FROM deliveries WHERE ref IN ({','.join(map(str, refs))}) FOR UPDATE")

        yield lock


def test_rows_that_others_have_locked_are_skipped(stored, locked):
    ready, held, due, waiting = stored.add("1", "2", "3", "4")
    stored.set(due, waiting, stage=LATER, due_at=in_(-60))
    locked(held, waiting)
    stored.call("wake", stored.shards, in_(0))
    assert stored.stages(due, waiting) == [READY, LATER]
    assert stored.call("hold", [ready, held]) == {ready}
    assert [claim.due.ref for claim in stored.claim(ready, held)] == [ready]
    stored.call("set_aside", [held, due], LATER)
    assert stored.stages(held, due) == [READY, LATER]


def test_a_worker_sees_only_its_shards(stored):
    refs = stored.add(*map(str, range(40)), listener="oncall")
    late = stored.add("late", listener="late", stage=LATER, due_at=in_(-60))
    by_shard = {ref: stored.row(ref).shard for ref in (*refs, *late)}
    assert by_shard[refs[3]] == shard_of(None, "oncall", stored.row(refs[3]).event_ref, is_sqlite=False)
    mine = [by_shard[refs[0]], by_shard[refs[1]]]
    others = [shard for shard in range(32) if shard != by_shard[late[0]]]
    found, _ = stored.call("candidates", mine, "oncall", 100)
    assert [each.ref for each in found] == [ref for ref in refs if by_shard[ref] in mine]
    assert stored.call("next_due", others) is None
    stored.call("wake", others, in_(0))
    assert stored.stages(*late) == [LATER]
    stored.call("wake", [by_shard[late[0]]], in_(0))
    assert stored.stages(*late) == [READY]
    assert stored.call("listeners", [by_shard[late[0]]], "kept", 1) == (["late"], "late")
    assert stored.call("listeners", others, "kept", 1) == ([], "late")  # others may have more after it
    stored.claim(*refs)
    assert [claim.due.ref for claim in stored.call("claimed", mine)] == [ref for ref in refs if by_shard[ref] in mine]


def test_what_is_beyond_the_first_of_a_shard_is_known_to_be_there(stored):
    refs = stored.add(*map(str, range(5)))
    stored.set(*refs, shard=7)
    found, is_all = stored.call("candidates", stored.shards, "oncall", 12)
    assert ([each.ref for each in found], is_all) == (refs[:4], False)
    stored.claim(refs[4])
    found, is_all = stored.call("candidates", stored.shards, "oncall", 12)
    assert ([each.ref for each in found], is_all) == (refs[:4], False)  # perhaps there are more
    stored.claim(refs[3])
    assert stored.call("candidates", stored.shards, "oncall", 12)[1]
