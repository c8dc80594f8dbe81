"""Wrong passwords cost little: few are checked at a time, and who tries again and again waits."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from extension_kit.web.password_tries import TooManyTries, Tries, limit_keys
from extension_kit.web.passwords import PasswordGate, PasswordsBusy
from tests.support.waiting import wait_until


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def wait_of(tries, keys):
    """How many seconds the next try has to wait."""
    try:
        tries.check_delay(keys)
    except TooManyTries as error:
        return error.seconds
    return 0


def test_the_wait_grows_and_has_an_end(clock):
    tries, waits = Tries(clock), []
    for _ in range(13):
        tries.failed(limit_keys("192.0.2.1", "a"))
        waits.append(wait_of(tries, limit_keys("192.0.2.1", "another")))
        clock.now += waits[-1]
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert wait_of(tries, limit_keys("192.0.2.1", "another")) == 0
    tries.failed(limit_keys("192.0.2.1", "another"))
    assert wait_of(tries, limit_keys("192.0.2.2", "another")) == 0
    clock.now += 1000
    tries.failed(limit_keys("192.0.2.1", "another"))
    assert wait_of(tries, limit_keys("192.0.2.1", "another")) == 0  # what is long ago is forgotten


@pytest.mark.parametrize(
    ("tried", "next_try", "is_held"),
    [
        (("192.0.2.1", "a"), ("192.0.2.1", "b"), True),
        (("192.0.2.1", "a"), ("192.0.2.2", "a"), True),
        (("192.0.2.1", "a"), ("192.0.2.2", "b"), False),
        (("192.0.2.1", "a"), ("::ffff:192.0.2.1", "b"), False),  # another notation of a server that has both families
        (("2001:db8::1", "a"), ("2001:db8::ffff:1", "b"), True),  # one network
        (("2001:db8::1", "a"), ("2001:db8:0:1::1", "b"), False),
        ((None, "a"), (None, "b"), True),
        (("192.0.2.1", None), ("192.0.2.1", None), True),
        (("192.0.2.1", None), ("192.0.2.2", None), False),  # without names, none is common to them
    ],
)
def test_addresses_and_names_are_counted(clock, tried, next_try, is_held):
    tries = Tries(clock)
    for _ in range(5):
        tries.failed(limit_keys(*tried))
    assert bool(wait_of(tries, limit_keys(*next_try))) == is_held


def test_those_that_fail_wait_for_each_other_but_not_for_long(clock):
    tries = Tries(clock)
    for number in range(80):
        tries.failed(limit_keys(f"192.0.2.{number}", str(number)))
        clock.now += 0.5
    assert wait_of(tries, limit_keys("192.0.2.1", "another")) == 0.5
    assert wait_of(tries, limit_keys("198.51.100.1", "new")) == 0
    clock.now += 900
    assert wait_of(tries, limit_keys("192.0.2.1", "another")) == 0


def test_addresses_that_guess_together_have_a_bound(clock):
    """Each of them tries once, as often as it is let through."""
    tries, passed = Tries(clock), 0
    for number in range(10_000):
        keys = limit_keys(f"10.1.{number // 256}.{number % 256}", None)
        if not wait_of(tries, keys):
            tries.failed(keys)
            passed += 1
        clock.now += 0.01
    assert 540 <= passed <= 550
    waits = wait_of(tries, limit_keys("192.0.2.1", "new"))
    assert 0 <= waits <= 0.2


def test_who_has_known_the_password_is_not_held_up_by_them(clock):
    tries, known = Tries(clock, limit=100), limit_keys("192.0.2.1", None)
    tries.succeeded(known)
    for number in range(60):
        tries.failed(limit_keys(f"198.51.100.{number}", None))
    assert wait_of(tries, limit_keys("192.0.2.2", None)) == pytest.approx(0.2)
    assert wait_of(tries, known) == 0
    tries.failed(known)
    assert wait_of(tries, known) == 1
    for number in range(200):
        tries.succeeded(limit_keys(f"2001:db8:{number:x}::1", None))
    assert len(tries._succeeded) == 100


def test_a_right_one_makes_up_for_wrong_ones(clock):
    tries, keys = Tries(clock), limit_keys("192.0.2.1", "a")
    for _ in range(7):
        tries.failed(keys)
    tries.succeeded(keys)
    assert wait_of(tries, keys) == 0


def test_what_is_remembered_is_bounded(clock):
    tries = Tries(clock, limit=100)
    for number in range(1000):
        tries.failed(limit_keys(f"2001:db8:{number:x}::1", str(number)))
    assert len(tries._known) == 100


def test_one_works_few_wait_and_the_others_are_told_to_come_again():
    gate, release, busy = PasswordGate(16, Tries()), threading.Event(), []
    at_work = threading.BoundedSemaphore(1)

    def work():
        assert at_work.acquire(blocking=False)
        release.wait(30)
        at_work.release()
        return True

    def come(number):
        try:
            return gate.check(limit_keys(str(number), str(number)), work)
        except PasswordsBusy:
            busy.append(number)
            return False

    with ThreadPoolExecutor(20) as pool:
        done = [pool.submit(come, number) for number in range(20)]
        wait_until(lambda: len(busy) == 16)
        release.set()
        assert sum(each.result(30) for each in done) == 4


@pytest.mark.parametrize(("threads", "waiting"), [(1, 0), (4, 1), (8, 2), (1000, 3)])
def test_most_threads_stay_for_others(threads, waiting):
    gate = PasswordGate(threads, Tries())
    assert gate._slots._value == 1 + waiting


def test_a_check_that_fails_gives_its_place_back():
    gate = PasswordGate(1, Tries())
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            gate.check(limit_keys("a", "b"), lambda: 1 / 0)
