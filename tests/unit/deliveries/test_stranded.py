"""Deliveries that wait and that no worker would ever find are found, at little cost."""

import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, text

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.stranded import requeue_stranded
from extension_kit.deliveries.tables import (
    BEHIND,
    CLAIMED,
    DEAD,
    DELIVERED,
    LATER,
    READY,
    deliveries,
    events,
)
from tests.support.databases import opened
from tests.support.driving import claimed
from tests.support.recording import all_of, change, entry, queries, stages

NOW = datetime.now(UTC)


@pytest.fixture
def refs(database):
    """Four deliveries of one lock, the others behind the first, and one without a lock."""
    Outbox(database).record([entry(str(n), series="t/1") for n in range(4)])
    Outbox(database).record([entry("free")])
    assert stages(database) == [READY, BEHIND, BEHIND, BEHIND, READY]
    return [row.ref for row in all_of(database)]


def test_nothing_is_stranded_as_a_rule(database, refs, caplog):
    assert requeue_stranded(database) == 0
    change(database, refs[:1], stage=LATER)
    assert requeue_stranded(database) == 0
    assert claimed(database, refs[0]) is not None
    assert requeue_stranded(database) == 0
    assert stages(database) == [CLAIMED, BEHIND, BEHIND, BEHIND, READY]
    assert caplog.text == ""


@pytest.mark.parametrize("status", [DELIVERED, DEAD])
def test_what_is_behind_nothing_any_more(database, refs, status, caplog):
    change(database, refs[:1], status=status, stage=None)
    assert requeue_stranded(database) == 1
    assert stages(database) == [None, READY, BEHIND, BEHIND, READY]
    assert caplog.messages == [f"1 waiting deliveries were in no worker's sight, found again: {refs[1]}"]
    assert requeue_stranded(database) == 0


def test_what_is_behind_without_a_lock(database, refs):
    change(database, refs[4:], stage=BEHIND)
    assert requeue_stranded(database) == 1
    assert stages(database)[4] == READY


def test_what_waits_and_has_no_stage(database, refs, caplog):
    change(database, [*refs[1:3], refs[4]], stage=None)
    assert requeue_stranded(database) == 3
    assert stages(database) == [READY, READY, READY, BEHIND, READY]
    assert f"found again: {refs[1]}, {refs[2]}, {refs[4]}" in caplog.text


def test_what_is_behind_a_later_one_that_is_being_made(database, refs):
    """So it is with a replayed one: the worker calls it up when the others have ended."""
    change(database, refs[1:2], stage=CLAIMED, claimed_at=NOW)
    change(database, refs[:1], stage=BEHIND)
    assert requeue_stranded(database) == 0
    change(database, refs[1:2], status=DELIVERED, stage=None, claimed_at=None)
    assert requeue_stranded(database) == 1
    assert stages(database) == [READY, None, BEHIND, BEHIND, READY]


def test_many_are_found_part_by_part_and_the_log_names_some(database, refs, monkeypatch, caplog):
    monkeypatch.setattr("extension_kit.deliveries.stranded._MOST", 8)
    Outbox(database).record([entry(f"more-{n}") for n in range(20)])
    change(database, [row.ref for row in all_of(database)][5:], stage=None)
    assert requeue_stranded(database) == 20
    assert set(stages(database)[5:]) == {READY}
    assert [message.split()[0] for message in caplog.messages] == ["8", "8", "4"]


def test_many_processes_find_each_one_once(url, database, refs):
    Outbox(database).record([entry(f"more-{n}") for n in range(50)])
    change(database, [row.ref for row in all_of(database)][5:], stage=None)
    gate, found = threading.Barrier(3, timeout=30), []

    def look():
        with opened(url, upgraded=False) as own:
            gate.wait()
            found.append(requeue_stranded(own))

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(found) == 50
    assert None not in stages(database)


def test_what_has_ended_is_not_read(database):
    """However many events are kept, and although the store knows the values of a statement only when it runs."""
    first = 1_000_000  # above the numbers that are given
    event = {"source": "s", "name": "n", "received_at": NOW, "body": b""}
    ended = {"listener": "oncall", "status": DELIVERED, "stage": None, "created_at": NOW, "due_at": NOW}
    with database.transaction() as connection:
        for start in range(first, first + 20_000, 5_000):
            refs = range(start, start + 5_000)
            connection.execute(insert(events), [{"ref": ref, "event_id": f"old-{ref}", **event} for ref in refs])
            connection.execute(
                insert(deliveries), [{"ref": ref, "event_ref": ref, "lock": f"l{ref}", **ended} for ref in refs]
            )
    Outbox(database).record([entry(str(n), series=f"t/{n % 5}") for n in range(20)])
    with queries(database) as sent:
        assert requeue_stranded(database) == 0
    assert len(sent) == 2
    with database.transaction() as connection:
        for statement, parameters in sent:
            if database.is_sqlite:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
                assert all("USING INDEX ix_deliveries_" in row.detail or "SUBQUERY" in row.detail for row in plan), plan
            else:
                connection.execute(text("SET LOCAL enable_seqscan = off"))
                plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all()
                assert "Seq Scan" not in "\n".join(plan)
