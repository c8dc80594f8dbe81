"""Wrong passwords cost little: few are checked at a time, and who tries again and again waits."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median

import pytest

from extensions.croneye.accounts import Accounts
from extensions.croneye.answers import Refusal
from extensions.croneye.passwords import Busy, PasswordGate
from extensions.croneye.tries import TooManyTries, Tries, keys_of
from tests.conftest import run_server, wait_until

from .conftest import EMAIL, PASSWORD, SETTINGS, TOKEN, VARIABLES
from .test_served import EXTENSION, KIT


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
        tries.need_turn(keys)
    except TooManyTries as error:
        return error.seconds
    return 0


def test_the_wait_grows_and_has_an_end(clock):
    tries, waits = Tries(clock), []
    for _ in range(13):
        tries.failed(keys_of("192.0.2.1", "a"))
        waits.append(wait_of(tries, keys_of("192.0.2.1", "another")))
        clock.now += waits[-1]
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert wait_of(tries, keys_of("192.0.2.1", "another")) == 0
    tries.failed(keys_of("192.0.2.1", "another"))
    assert wait_of(tries, keys_of("192.0.2.2", "another")) == 0
    clock.now += 1000
    tries.failed(keys_of("192.0.2.1", "another"))
    assert wait_of(tries, keys_of("192.0.2.1", "another")) == 0  # what is long ago is forgotten


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
    ],
)
def test_addresses_and_names_are_counted(clock, tried, next_try, is_held):
    tries = Tries(clock)
    for _ in range(5):
        tries.failed(keys_of(*tried))
    assert bool(wait_of(tries, keys_of(*next_try))) == is_held


def test_all_together_are_held_up_too_but_not_for_long(clock):
    tries = Tries(clock)
    for number in range(80):
        tries.failed(keys_of(f"192.0.2.{number}", str(number)))
    assert wait_of(tries, keys_of("198.51.100.1", "new")) == 1


def test_a_right_one_makes_up_for_wrong_ones(clock):
    tries, keys = Tries(clock), keys_of("192.0.2.1", "a")
    for _ in range(7):
        tries.failed(keys)
    tries.succeeded(keys)
    assert wait_of(tries, keys) == 0


def test_what_is_remembered_is_bounded(clock, monkeypatch):
    monkeypatch.setattr("extensions.croneye.tries._MOST_KNOWN", 100)
    tries = Tries(clock)
    for number in range(1000):
        tries.failed(keys_of(f"2001:db8:{number:x}::1", str(number)))
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
            return gate.check(keys_of(str(number), str(number)), work)
        except Busy:
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
    assert gate._places._value == 1 + waiting


def test_a_check_that_fails_gives_its_place_back():
    gate = PasswordGate(1, Tries())
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            gate.check(keys_of("a", "b"), lambda: 1 / 0)


@pytest.fixture
def accounts(api):
    accounts = Accounts(api.host, SETTINGS)
    accounts.log_in(EMAIL, PASSWORD, "192.0.2.1")
    return accounts


def test_an_unknown_name_has_the_answer_of_a_wrong_password_after_the_same_time(accounts):
    def refusal(name, number):
        began = time.perf_counter()
        with pytest.raises(Refusal) as raised:
            accounts.log_in(name, "wrong", f"192.0.2.{number}")
        return time.perf_counter() - began, (raised.value.code, raised.value.message, raised.value.content)

    known = [refusal(EMAIL, number) for number in range(4)]
    unknown = [refusal("näme@example.com", 10 + number) for number in range(4)]
    refused = (401, "Password is not matching. Login again.", {})
    assert [answer for _, answer in [*known, *unknown]] == [refused] * 8
    # Without a hash it takes less than a hundredth.
    assert median(seconds for seconds, _ in unknown) > median(seconds for seconds, _ in known) / 10


def test_the_right_password_has_to_wait_as_well(api):
    for _ in range(5):
        assert api.log_in(password="wrong").status_code == 401
    answer = api.log_in()
    assert (answer.status_code, answer.json) == (
        429,
        {"status": "failure", "message": "Too many wrong passwords. Wait, and try again."},
    )
    assert answer.headers["Retry-After"] == "1"
    wait_until(lambda: api.log_in().status_code == 200)
    assert api.log_in().status_code == 200


def test_changing_the_password_is_no_way_around(api):
    headers = api.as_admin()
    change = {"current_password": "wrong", "new_password": "battery staple"}
    statuses = [api.ask("/auth/change-password", change, headers=headers).status_code for _ in range(6)]
    assert statuses == [400] * 5 + [429]
    assert api.ask("/auth/change-password", change, headers=headers).json["data"] == {}
    assert api.log_in().status_code == 429


def test_wrong_tries_are_in_the_log_without_what_was_tried(api, caplog):
    api.log_in(email="secret-name", password="secret-password")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "extension_kit.croneye"]
    assert line == "Wrong name or password from 127.0.0.1"


def peak(pid):
    """The most memory that a process has had, in bytes."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def test_a_flood_of_wrong_logins_holds_up_no_event(tmp_path):
    """Of 32 at once, a few are checked, one after the other; events are answered meanwhile, and memory stays."""
    event = {"event_code": 1, "alias": "billing"}
    headers = {"Authorization": f"Token {TOKEN}"}

    def log_in(password):
        return server.post("/croneye/api/auth/login", {"email": EMAIL, "password": password})

    with run_server([KIT, "serve", EXTENSION, "--no-worker"], tmp_path / "log", **VARIABLES) as server:
        wait_until(lambda: server.health("readiness") == 200)
        assert log_in(PASSWORD).status == 200
        (web,) = server.children("serve")
        before = peak(web)
        began = time.perf_counter()
        assert log_in("wrong").status == 401
        one = time.perf_counter() - began
        barrier, statuses, slowest = threading.Barrier(33), [], 0.0

        def flood():
            barrier.wait(30)
            reply = log_in("wrong")
            assert (reply.status == 429) == ("retry-after" in reply.headers)
            return reply.status

        with ThreadPoolExecutor(32) as pool:
            flooding = [pool.submit(flood) for _ in range(32)]
            barrier.wait(30)
            while not all(each.done() for each in flooding):
                began = time.perf_counter()
                assert server.post("/event", event, headers).status == 200
                slowest = max(slowest, time.perf_counter() - began)
            statuses = [each.result() for each in flooding]
        assert set(statuses) == {401, 429}
        assert statuses.count(401) <= 8  # four are free, beside the one before; a slow machine may begin to wait again
        assert peak(web) - before < 100 * 1024**2  # each has 32 MB, and all at once 1 GB
        assert slowest < 8 * one + 1  # all 32 take 16 times as long as one on two processors


def test_settings_without_an_administrator_check_nothing(api):
    accounts = Accounts(api.host, replace(SETTINGS, admin_email="", admin_password=""))
    with pytest.raises(Refusal) as raised:
        accounts.log_in(EMAIL, PASSWORD, "192.0.2.1")
    assert raised.value.code == 404
