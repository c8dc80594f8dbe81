import threading

import pytest

from extension_kit.events import duplicates
from extension_kit.events.duplicates import RecentEvents


def claim(recent, path, event_id, value="v"):
    return recent.claim(path, event_id, value)


def test_the_second_claim_finds_the_first():
    recent = RecentEvents(60, 10)
    assert claim(recent, "/a", "1", "first") == ("first", True)
    assert claim(recent, "/a", "1", "second") == ("first", False)


def test_the_same_event_at_another_path_is_new():
    recent = RecentEvents(60, 10)
    claim(recent, "/a", "1")
    assert claim(recent, "/b", "1")[1]


def test_a_forgotten_event_is_new_again():
    recent = RecentEvents(60, 10)
    claim(recent, "/a", "1")
    recent.forget("/a", "1")
    recent.forget("/a", "never seen")
    assert claim(recent, "/a", "1")[1]


def test_the_oldest_go_first_when_there_are_too_many():
    recent = RecentEvents(60, 3)
    for event_id in "1234":
        claim(recent, "/a", event_id)
    assert len(recent) == 3
    assert not claim(recent, "/a", "2")[1]
    assert claim(recent, "/a", "1")[1]


def test_events_are_forgotten_after_the_window(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(duplicates.time, "monotonic", lambda: now)
    recent = RecentEvents(60, 1000)
    for number in range(100):
        claim(recent, "/a", str(number))
    now += 59
    assert not claim(recent, "/a", "5")[1]
    now += 2
    assert claim(recent, "/a", "5")[1]
    assert len(recent) == 1
    assert not claim(recent, "/a", "5")[1]


@pytest.mark.parametrize(("window", "limit"), [(0, 10), (60, 0)])
def test_remembering_can_be_turned_off(window, limit):
    recent = RecentEvents(window, limit)
    assert [claim(recent, "/a", "1")[1] for _ in range(3)] == [True, True, True]
    assert len(recent) == 0


def test_what_is_kept_of_a_long_id_is_short():
    recent = RecentEvents(60, 10)
    long = "x" * 1_000_000
    assert claim(recent, "/a", long)[1]
    assert not claim(recent, "/a", long)[1]
    assert claim(recent, "/a", long + "y")[1]
    assert all(len(key[1]) <= 64 for key in recent._entries)


def test_one_of_many_threads_gets_an_event():
    recent = RecentEvents(60, 1000)
    barrier = threading.Barrier(8)
    new = []

    def work():
        barrier.wait(10)
        for number in range(200):
            if claim(recent, "/a", str(number))[1]:
                new.append(number)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(new) == list(range(200))
