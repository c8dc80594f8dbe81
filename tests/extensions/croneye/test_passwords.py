"""Wrong passwords cost little: few are checked at a time, and who tries again and again waits."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median

import pytest

from extensions.croneye.accounts import Accounts
from extensions.croneye.answers import Refusal
from tests.extensions.croneye.api import EMAIL, EXTENSION, PASSWORD, SETTINGS, TOKEN, VARIABLES
from tests.support.paths import KIT
from tests.support.servers import run_server
from tests.support.waiting import wait_until


@pytest.fixture
def api(api):
    """The API of a process of its own: wrong passwords are counted."""
    api.start_anew()
    return api


# Wrong passwords are counted in memory.
on_one_store = pytest.mark.parametrize("session_api", ["sqlite"], indirect=True)


@pytest.fixture
def accounts(api, monkeypatch):
    """The account with a hash that takes the usual time."""
    monkeypatch.undo()
    api.forget_the_account()
    accounts = Accounts(api.kit, SETTINGS)
    accounts.log_in(EMAIL, PASSWORD, "192.0.2.1")
    yield accounts
    api.forget_the_account()


@on_one_store
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


@on_one_store
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


@on_one_store
def test_changing_the_password_is_no_way_around(api):
    headers = api.as_admin()
    change = {"current_password": "wrong", "new_password": "battery staple"}
    statuses = [api.ask("/auth/change-password", change, headers=headers).status_code for _ in range(6)]
    assert statuses == [400] * 5 + [429]
    assert api.ask("/auth/change-password", change, headers=headers).json["data"] == {}
    assert api.log_in().status_code == 429


@on_one_store
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
    accounts = Accounts(api.kit, replace(SETTINGS, admin_email="", admin_password=""))
    with pytest.raises(Refusal) as raised:
        accounts.log_in(EMAIL, PASSWORD, "192.0.2.1")
    assert raised.value.code == 404
