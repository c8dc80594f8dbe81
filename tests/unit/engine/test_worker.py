"""A whole worker on each store; what it does with deliveries is tested in tests/conformance, too."""

import threading

import pytest

from extension_kit.deliveries.tables import DELIVERED
from extension_kit.errors import StoreUnavailable
from extension_kit.store.migrate import upgrade
from tests.support.databases import opened
from tests.support.queues import in_
from tests.support.waiting import wait_until
from tests.support.workers import Attempts, failed, working


def are_over(stored, number):
    found = stored.statuses()
    return len(found) == number and set(found.values()) == {DELIVERED}


def test_what_waits_and_what_comes_is_delivered(stored):
    stored.add("1", "2")
    attempts = Attempts({"2": [failed()]})
    with working(stored.database, attempts):
        wait_until(lambda: are_over(stored, 2))
        stored.add("3")
        wait_until(lambda: are_over(stored, 3))
    assert sorted(attempts.started) == [*"12", *"23"]


def test_workers_share_the_deliveries(stored):
    made = Attempts(), Attempts()
    with working(stored.database, made[0], name="one"):
        stored.add(*map(str, range(50)))
        with working(stored.database, made[1], name="two"):
            stored.add(*map(str, range(50, 100)), series="t/1")
            wait_until(lambda: are_over(stored, 100))
        stored.add("100")
        wait_until(lambda: are_over(stored, 101))
    ended = made[0].ended + made[1].ended
    assert sorted(map(int, ended)) == list(range(101))
    for attempts in made:
        of_series = [int(each) for each in attempts.ended if 50 <= int(each) < 100]
        assert of_series == sorted(of_series)


def test_a_worker_that_is_stopped_twice_or_before_it_runs_ends(stored):
    with working(stored.database, Attempts()) as worker:
        worker.stop()
    with working(stored.database, Attempts()) as worker:
        wait_until(lambda: any(thread.name == "delivery-0" for thread in threading.enumerate()))
        worker.stop()
        worker.stop()


def test_threads_end_with_the_worker(stored):
    before = set(threading.enumerate())  # functions of other tests may not return
    with working(stored.database, Attempts()):
        stored.add("1")
        wait_until(lambda: are_over(stored, 1))
    wait_until(lambda: not [each for each in set(threading.enumerate()) - before if each.name.startswith("deliver")])


def test_earlier_attempts_tell_quick_listeners_from_new_ones(stored):
    stored.add(*map(str, range(4)), listener="quick")
    stored.add("4", "5", listener="other", due_at=in_(3600))
    together = threading.Barrier(4, timeout=20)

    def make(due):
        together.wait()  # all four at the same time; a new listener gets one thread beside others
        return Attempts()(due)

    with working(stored.database, make, threads=8, experience=lambda: [("quick", 0.01, True)]):
        wait_until(lambda: list(stored.statuses().values()).count(DELIVERED) == 4)


def test_experience_that_cannot_be_read_does_not_keep_a_worker_from_its_work(stored):
    def fail():
        raise StoreUnavailable("gone")

    stored.add("1")
    with working(stored.database, Attempts(), experience=fail):
        wait_until(lambda: are_over(stored, 1))


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_a_worker_without_tables_says_what_to_do_and_waits_for_them(request, store, caplog):
    with opened(request.getfixturevalue(f"{store}_url"), upgraded=False) as database:
        database.create()
        with working(database, Attempts()):
            wait_until(lambda: "extension-kit db upgrade" in caplog.text)
            upgrade(database)
            wait_until(lambda: "paused" in caplog.text)
        caplog.clear()
        with working(database, Attempts()):
            pass
        assert not caplog.records
