"""What is recorded, exactly once, however often and by how many at the same time; all of it or nothing."""

import random
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from functools import partial

import pytest
from sqlalchemy import insert, select, text

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.queries import Filter, find
from extension_kit.deliveries.step_memory import find_step
from extension_kit.deliveries.tables import DELIVERY_COLUMNS, deliveries, events, series
from extension_kit.errors import StoreError
from tests.support.databases import opened
from tests.support.recording import Delivery, entry, queued, record_many, rows, stored
from tests.support.waiting import wait_until

TABLES = ("events", "series", "deliveries", "steps")


@pytest.fixture
def outbox(database):
    return Outbox(database)


def of_events(database, *columns):
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(events.c.ref))]


class TestRecording:
    def test_an_event_is_stored_with_what_is_to_be_delivered_and_done(self, database, outbox):
        before = datetime.now(UTC)
        given = {"source": "s", "name": "a.b", "subject": "x/1", "time": before, "body": b"\x00\xff", "series": "t/1"}
        assert outbox.record([entry("7", "one", "two", **given)]) == 2
        with database.read() as connection:
            event = connection.execute(select(events)).one()._asdict()
            first, second = connection.execute(select(*DELIVERY_COLUMNS).order_by(deliveries.c.ref)).all()
        del given["series"]
        assert {name: event[name] for name in given} == given
        assert event["event_id"] == "7"
        assert before <= event["received_at"] <= datetime.now(UTC)
        assert (first.listener, first.lock, first.series, first.place) == ("one", "one|t/1", "t/1", 1)
        assert (first.status, first.attempts, first.uncounted_attempts, first.ended_at) == ("waiting", 0, 0, None)
        assert first.created_at == first.due_at == event["received_at"]
        assert queued(database) == [(first.ref, "one|t/1", "one"), (second.ref, "two|t/1", "two")]

    def test_an_event_without_a_series_is_delivered_in_any_order(self, database, outbox):
        outbox.record([entry()])
        assert stored(database) == [Delivery("1", "oncall", None, None)]
        assert [lock for _, lock, _ in queued(database)] == [None]
        assert rows(database, "series") == [0]

    def test_an_event_that_nobody_wants_is_kept(self, database, outbox):
        assert outbox.record([entry()._replace(listeners=())]) == 0
        assert rows(database, *TABLES) == [1, 0, 0, 0]

    def test_nothing_is_recorded_of_nothing(self, database, outbox):
        assert outbox.record([]) == 0
        assert rows(database, *TABLES) == [0] * 4

    def test_deliveries_are_in_the_order_of_the_events_and_their_listeners(self, database, outbox):
        outbox.record([entry(number, "b", "a", series=f"t/{number}") for number in "3142"])
        assert of_events(database, events.c.event_id) == [("3",), ("1",), ("4",), ("2",)]
        expected = [(number, listener) for number in "3142" for listener in "ba"]
        assert [row[:2] for row in stored(database)] == expected
        assert [(lock[-1], listener) for _, lock, listener in queued(database)] == expected
        refs = [ref for ref, _, _ in queued(database)]
        assert refs == sorted(refs)

    def test_it_says_whether_it_could_record(self, database, outbox):
        outbox.check_writable()
        with database.transaction() as connection:
            connection.execute(text("DROP TABLE extension_kit_version"))
        with pytest.raises(StoreError, match="extension-kit db upgrade"):
            outbox.check_writable()


class TestKnownEvents:
    def test_what_comes_again_changes_nothing(self, database, outbox):
        outbox.record([entry(series="t/1", body=b"first", name="a.b")])
        before = queued(database)
        assert outbox.record([entry(series="t/1", body=b"second", name="c.d")]) == 0
        assert of_events(database, events.c.body, events.c.name) == [(b"first", "a.b")]
        assert queued(database) == before
        outbox.record([entry("2", series="t/1")])
        assert [row.place for row in stored(database)] == [1, 2]

    def test_of_what_comes_twice_in_a_group_the_first_counts(self, database, outbox):
        group = [entry(body=b"first"), entry("2"), entry(body=b"second"), entry("2", "other")]
        assert outbox.record([one._replace(series="t/1") for one in group]) == 3
        assert of_events(database, events.c.event_id, events.c.body) == [("1", b"first"), ("2", b"{}")]
        assert stored(database) == [
            Delivery("1", "oncall", "t/1", 1),
            Delivery("2", "oncall", "t/1", 2),
            Delivery("2", "other", "t/1", 2),
        ]

    def test_another_listener_gets_it_with_the_place_it_has(self, database, outbox):
        outbox.record([entry(number, "one", series="t/1") for number in "123"])
        assert outbox.record([entry("2", "two", "one", series="t/1"), entry("4", "two", series="t/1")]) == 2
        assert stored(database)[3:] == [Delivery("2", "two", "t/1", 2), Delivery("4", "two", "t/1", 4)]
        assert [lock for _, lock, _ in queued(database)] == ["one|t/1"] * 3 + ["two|t/1"] * 2

    def test_an_id_is_that_of_its_source(self, database, outbox):
        assert outbox.record([entry(source="one"), entry(source="two"), entry(source="one")]) == 2
        assert sorted(of_events(database, events.c.source, events.c.event_id)) == [("one", "1"), ("two", "1")]

    def test_what_was_removed_since_is_new(self, database, outbox):
        outbox.record([entry(series="t/1")])
        with database.transaction() as connection:
            connection.execute(events.delete())
        assert outbox.record([entry(series="t/1")]) == 1
        assert [row.place for row in stored(database)] == [2]


class TestAtTheSameTime:
    IDS = tuple(str(number) for number in range(60))

    def check(self, database, listeners):
        """Each event is there once, and once for each listener; their places have no gap and fit the order."""
        found = stored(database)
        assert sorted(of_events(database, events.c.event_id)) == sorted((event_id,) for event_id in self.IDS)
        for listener in (*listeners, "shared"):
            assert sorted(row.event_id for row in found if row.listener == listener) == sorted(self.IDS)
        places = {(row.event_id, row.place) for row in found}
        assert sorted(place for _, place in places) == list(range(1, len(self.IDS) + 1))
        shared = [row.place for row in found if row.listener == "shared"]
        assert shared == sorted(shared)
        assert [ref for ref, _, listener in queued(database) if listener == "shared"] == sorted(
            ref for ref, _, listener in queued(database) if listener == "shared"
        )
        assert len(queued(database)) == len(found)

    def test_four_threads_record_the_same_events_in_different_orders(self, url, database):
        failed, gate = [], threading.Barrier(4, timeout=30)

        def record(number):
            ids = random.Random(number).sample(self.IDS, len(self.IDS))
            gate.wait()
            try:
                record_many(url, f"path-{number}", [ids[at : at + 5] for at in range(0, len(ids), 5)])
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=record, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        self.check(database, [f"path-{number}" for number in range(4)])

    def test_two_processes_record_the_same_events_in_opposite_orders(self, url, database):
        command = [sys.executable, "-m", "tests.support.recording", url]
        orders = {"path-1": self.IDS, "path-2": self.IDS[::-1]}
        processes = [
            subprocess.Popen([*command, listener, *ids], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for listener, ids in orders.items()
        ]
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            _, complaints = process.communicate(timeout=60)
            assert (process.returncode, complaints) == (0, "")
        self.check(database, orders)

    def test_none_waits_for_another_that_waits_for_it(self, postgresql_url):
        """Two groups hold the same new events in opposite orders, and meet where each has the first of its own."""
        with opened(postgresql_url) as database:
            told = []

            def record(ids):
                told.append(Outbox(database).record([entry(event_id) for event_id in ids]))

            def waiting(number):
                with database.read() as connection:
                    locks = "SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                    ours = "NOT granted AND datname = current_database()"
                    return connection.exec_driver_sql(f"{locks} WHERE {ours}").scalar() == number

            threads = [threading.Thread(target=record, args=(ids,)) for ids in ("amz", "zma")]
            with database.transaction() as connection:
                now = datetime.now(UTC)
                middle = {"source": "steadybit", "event_id": "m", "name": "a.b", "received_at": now, "body": b""}
                connection.execute(insert(events).values(middle))
                for number, thread in enumerate(threads, 1):
                    thread.start()
                    wait_until(partial(waiting, number))
            for thread in threads:
                thread.join(30)
            assert sorted(told) == [0, 3]

    def test_four_writers_count_a_series_without_gaps_and_deliveries_are_in_its_order(self, url, database):
        gate = threading.Barrier(4, timeout=30)

        def record(writer):
            chosen = random.Random(writer)
            with opened(url) as own:
                outbox = Outbox(own)
                gate.wait()
                for at in range(0, 40, 4):
                    keys = [f"t/{chosen.randint(1, 3)}" for _ in range(4)]
                    outbox.record([entry(f"{writer}-{at + n}", series=key) for n, key in enumerate(keys)])

        threads = [threading.Thread(target=record, args=(writer,)) for writer in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        with database.read() as connection:
            last = dict(map(tuple, connection.execute(select(series.c.key, series.c.last_count))))
            places = dict(map(tuple, connection.execute(select(deliveries.c.ref, deliveries.c.place))))
        assert sum(last.values()) == 160
        for key, number in last.items():
            in_line = [places[ref] for ref, lock, _ in queued(database) if lock == f"oncall|{key}"]
            assert in_line == list(range(1, number + 1))
            assert [row.place for row in stored(database) if row.series == key] == in_line


class TestAllOrNothing:
    def test_a_database_that_fails_leaves_nothing(self, database, outbox):
        with database.transaction() as connection:
            connection.execute(text("DROP TABLE attempts"))
            connection.execute(text("DROP TABLE deliveries"))
        with pytest.raises(StoreError):
            outbox.record([entry(series="t/1", step="s")])
        assert rows(database, "events", "series", "steps") == [0] * 3

    def test_what_failed_is_recorded_when_it_comes_again(self, database, outbox):
        def fail(connection, entries):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            Outbox(database, fail).record([entry(series="t/1")])
        assert outbox.record([entry(series="t/1")]) == 1
        assert stored(database) == [Delivery("1", "oncall", "t/1", 1)]


class TestOddContent:
    def test_texts_of_any_length_stay_different_and_are_found(self, database, outbox):
        long = "\u00e4" * 300
        texts = [long + "a", long + "b", "x" * 255, "x" * 256, "with\x00nul", "with\ufffdnul", "\U0001f600" * 255]
        given = [
            entry(text, text, source=text, name=text, subject=text, series=text, step=text, body=text.encode())
            for text in texts
        ]
        assert outbox.record(given) == outbox.record([one._replace(listeners=("two",)) for one in given]) == len(texts)
        assert outbox.record(given) == 0
        assert rows(database, "events", "series", "steps") == [len(texts)] * 3
        assert {row.place for row in stored(database)} == {1}
        with database.read() as connection:
            for text_ in texts:
                found = find(connection, Filter(event_id=text_, event_name=text_), 10)
                assert len(found) == 2
                assert len({(row.subject, row.series) for row in found}) == 1
        assert [find_step(database, text_, text_) for text_ in texts] == [text_.encode() for text_ in texts]

    @pytest.mark.parametrize(
        ("time", "expected"),
        [
            (datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=-9))), "2026-01-02T12:04:05.678901"),
            (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5, minutes=45))), "2026-01-01T21:19:05"),
            (datetime(2, 1, 1, tzinfo=UTC), "0002-01-01T00:00:00"),
            (datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), "9999-12-31T23:59:59.999999"),
        ],
    )
    def test_times_are_kept_to_the_microsecond(self, database, outbox, time, expected):
        outbox.record([entry(time=time)])
        assert of_events(database, events.c.time) == [(datetime.fromisoformat(f"{expected}+00:00"),)]

    @pytest.mark.parametrize(
        "time",
        [datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))), datetime.min.replace(tzinfo=timezone.max)],
    )
    def test_a_time_that_no_calendar_has_keeps_no_event_from_being_recorded(self, database, outbox, time):
        assert outbox.record([entry(time=time), entry("2")]) == 2
        assert of_events(database, events.c.time) == [(None,), (None,)]


class TestSteps:
    def test_the_step_that_an_event_starts_is_remembered(self, database, outbox):
        outbox.record([entry(series="t/1", step="s", body=b"step"), entry("2", series="t/1", body=b"other")])
        assert find_step(database, "t/1", "s") == b"step"
        assert rows(database, "steps") == [1]

    def test_without_a_series_there_is_no_run_to_remember_it_for(self, database, outbox):
        outbox.record([entry(step="s")])
        assert rows(database, "events", "steps") == [1, 0]


class TestMatching:
    """Who wants an event is found within the transaction that records it."""

    def test_who_is_found_gets_it_beside_the_listeners_of_the_entry(self, database):
        asked = []

        def match(connection, entries):
            asked.append([one.event_id for one in entries])
            return [["oncall", f"subscription:{one.event_id}"] if one.event_id != "3" else [] for one in entries]

        outbox = Outbox(database, match)
        assert outbox.record([entry("2", series="t/1"), entry("1"), entry("2", "two", series="t/1"), entry("3")]) == 6
        assert asked == [["2", "1", "3"]]
        assert stored(database) == [
            Delivery("2", "oncall", "t/1", 1),
            Delivery("2", "subscription:2", "t/1", 1),
            Delivery("1", "oncall", None, None),
            Delivery("1", "subscription:1", None, None),
            Delivery("2", "two", "t/1", 1),
            Delivery("3", "oncall", None, None),
        ]
        assert queued(database)[1][1:] == ("subscription:2|t/1", "subscription:2")

    def test_who_begins_to_want_an_event_later_does_not_get_it_when_it_comes_again(self, database, outbox):
        outbox.record([entry("1"), entry("2")])
        asked = []

        def match(connection, entries):
            asked.append([one.event_id for one in entries])
            return [["late"] for _ in entries]

        later = Outbox(database, match)
        assert later.record([entry("1", "two")]) == 1
        assert later.record([entry("2", "two"), entry("3")]) == 3
        assert asked == [["3"]]
        assert [row.event_id for row in stored(database) if row.listener == "late"] == ["3"]

    def test_it_sees_what_the_transaction_sees_and_leaves_nothing_where_it_fails(self, database):
        def match(connection, entries):
            assert connection.execute(select(events.c.event_id)).scalars().all() == ["1"]
            connection.execute(text("SELECT * FROM missing"))

        with pytest.raises(StoreError):
            Outbox(database, match).record([entry(series="t/1")])
        assert rows(database, *TABLES) == [0] * 4
