"""Values that take a while to find out."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from extension_kit.runtime.cached import Cached


class Slow:
    """Finds 1, 2, ... each as soon as it is allowed to."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        self.begun.release()
        assert self.allowed.acquire(timeout=30)
        return self.calls


@pytest.fixture
def slow():
    slow = Slow()
    yield slow
    slow.allowed.release(100)


def test_all_who_ask_at_the_same_time_are_given_the_same_value(slow):
    cached = Cached(slow, keep=60, patience=30)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(cached) for _ in range(8)]
        assert slow.begun.acquire(timeout=30)
        slow.allowed.release()
        assert [answer.result(30) for answer in answers] == [1] * 8
    assert slow.calls == 1


@pytest.mark.parametrize(("keep", "calls"), [(60, 1), (0, 3)])
def test_a_value_is_kept_for_a_moment_and_no_longer(slow, keep, calls):
    slow.allowed.release(3)
    cached = Cached(slow, keep=keep)
    assert [cached(), cached(), cached()][-1] == calls
    assert slow.calls == calls


def test_nobody_waits_longer_than_their_patience_and_what_hangs_is_not_begun_again(slow):
    cached = Cached(slow, keep=0, patience=0.01)
    assert [cached(), cached(), cached()] == [None] * 3
    assert slow.calls == 1


def test_a_value_that_came_late_is_given_to_who_asks_next(slow):
    cached = Cached(slow, keep=60, patience=0.01)
    assert cached() is None
    slow.allowed.release()
    deadline = time.monotonic() + 30
    while (value := cached()) is None:
        assert time.monotonic() < deadline
    assert value == 1


def test_a_value_that_cannot_be_found_is_looked_for_again():
    results = iter([OSError("down"), OSError("down"), 3])

    def find():
        if isinstance(result := next(results), OSError):
            raise result
        return result

    cached = Cached(find, keep=0)
    assert [cached(), cached(), cached()] == [None, None, 3]


def test_a_failure_is_kept_too():
    calls = []

    def find():
        calls.append(1)
        raise OSError("down")

    cached = Cached(find, keep=60)
    assert [cached(), cached()] == [None, None]
    assert len(calls) == 1


def test_it_is_found_on_another_thread():
    assert Cached(threading.current_thread)() is not threading.current_thread()


def test_who_comes_while_it_hangs_does_not_wait_again(slow):
    cached = Cached(slow, keep=0, patience=1.0)
    began = time.monotonic()
    assert [cached() for _ in range(30)] == [None] * 30
    assert time.monotonic() - began < 15  # and not 30
