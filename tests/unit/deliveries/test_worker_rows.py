"""Rows of workers: written again and again, found, removed."""

from datetime import UTC, datetime, timedelta

from extension_kit.deliveries import worker_rows
from extension_kit.deliveries.worker_rows import OpenCircuit, WorkerRow, known_workers, remove, report

NOW = datetime.now(UTC)
ONE = WorkerRow("one", "host", 17, NOW, NOW, 16, 3, [OpenCircuit("https://ä.example.com", NOW)])


def call(database, function, *arguments):
    with database.transaction() as connection:
        return function(connection, *arguments)


def test_a_row_is_that_of_the_last_report(database):
    call(database, report, ONE)
    assert call(database, known_workers) == [ONE]
    later = ONE._replace(seen_at=NOW + timedelta(seconds=5), busy=0, open_circuits=[])
    call(database, report, later)
    assert call(database, known_workers) == [later]
    call(database, remove, "other")
    assert call(database, known_workers) == [later]
    call(database, remove, "one")
    assert call(database, known_workers) == []


def test_workers_come_in_the_order_of_their_starts_the_oldest_signs_of_life_left_out(database, monkeypatch):
    monkeypatch.setattr(worker_rows, "_MOST_WORKERS", 2)
    for number, key in enumerate("abc"):
        begun = NOW - timedelta(minutes=number)
        call(database, report, ONE._replace(key=key, started_at=begun, seen_at=begun))
    assert [each.key for each in call(database, known_workers)] == ["b", "a"]


def test_only_so_many_circuits_are_kept(database):
    circuits = [OpenCircuit("x" * 1000, NOW)] * 150
    call(database, report, ONE._replace(host="h" * 1000, open_circuits=circuits))
    (found,) = call(database, known_workers)
    assert len(found.open_circuits) == 100
    assert len(found.open_circuits[0].receiver) == len(found.host) < 255
