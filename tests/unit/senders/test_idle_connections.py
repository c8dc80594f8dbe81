"""Idle connections: who gets them, and when they are closed."""

import errno
import math
import queue
import ssl
import threading
import time

import pytest

from extension_kit.errors import ConfigurationError
from extension_kit.senders.idle_connections import IdleConnections, NoConnectionError, client_context, dial_first


@pytest.fixture
def closed():
    return queue.SimpleQueue()


@pytest.fixture
def idle(closed):
    idle = IdleConnections(closed.put, limit=3, seconds=1000)
    yield idle
    idle.close()


def test_what_was_given_last_is_taken_first_and_once(idle):
    assert idle.acquire("a") is None
    idle.release("a", 1)
    idle.release("b", 2)
    idle.release("a", 3)
    assert [idle.acquire(key) for key in "aabb"] == [3, 1, 2, None]


def test_the_oldest_is_closed_for_one_too_many(idle, closed):
    for number in range(5):
        idle.release(number, number)
    assert [closed.get_nowait(), closed.get_nowait()] == [0, 1]
    assert [idle.acquire(number) for number in range(5)] == [None, None, 2, 3, 4]


def test_closing_closes_what_is_kept_and_what_comes_later(idle, closed):
    idle.release("a", 1)
    taken = idle.acquire("a")
    idle.release("b", 2)
    idle.close()
    assert closed.get_nowait() == 2
    idle.release("a", taken)
    assert closed.get_nowait() == taken
    assert idle.acquire("a") is None
    idle.close()


def test_what_nobody_takes_is_closed_after_a_while_one_after_the_other(closed):
    idle = IdleConnections(closed.put, limit=10, seconds=0.05)
    for number in range(3):
        idle.release("a", number)
        assert closed.get(timeout=20) == number
    idle.release("a", 3)
    threading.Event().wait(0.03)  # so that the time of one is not the other's
    idle.release("a", 4)
    assert [closed.get(timeout=20), closed.get(timeout=20)] == [3, 4]
    assert len(idle) == 0
    idle.close()


def test_each_is_kept_for_its_time_only(closed):
    idle = IdleConnections(closed.put, limit=10, seconds=0.05)
    idle.release("a", 1)
    assert idle.acquire("a") == 1
    idle.release("b", 2)
    assert closed.get(timeout=20) == 2
    assert closed.empty()
    idle.close()


def test_no_thread_looks_after_what_is_kept_without_end(closed):
    idle = IdleConnections(closed.put, limit=1, seconds=math.inf)
    before = threading.active_count()
    idle.release("a", 1)
    assert threading.active_count() == before
    idle.close()
    assert closed.get_nowait() == 1


def test_no_connection_has_two_users(idle):
    for number in range(3):
        idle.release("a", number)
    barrier, in_use, clashes = threading.Barrier(8), set(), []

    def work():
        barrier.wait(20)
        for _ in range(500):
            if (connection := idle.acquire("a")) is not None:
                if connection in in_use:
                    clashes.append(connection)
                in_use.add(connection)
                in_use.discard(connection)
                idle.release("a", connection)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not clashes
    assert sorted(idle.acquire("a") for _ in range(3)) == [0, 1, 2]


class Refused(Exception):
    pass


def dialled(addresses, seconds, *, answering=()):
    """Who is dialled, with which share of the seconds."""
    shares = []

    def dial(address, share):
        shares.append((address, round(share)))
        if address not in answering:
            raise Refused(address)
        return address

    try:
        return dial_first(addresses, time.monotonic() + seconds, dial), shares
    except NoConnectionError as error:
        return error.cause, shares


def test_the_first_address_that_answers_is_taken_and_each_has_its_share_of_the_time():
    assert dialled("abc", 300, answering="c") == ("c", [("a", 100), ("b", 150), ("c", 300)])
    assert dialled("abc", 300, answering="ab") == ("a", [("a", 100)])


def test_when_none_answers_the_last_failure_counts():
    error, shares = dialled("ab", 300)
    assert (type(error), str(error), len(shares)) == (Refused, "b", 2)


def test_nobody_is_dialled_when_the_time_is_up():
    error, shares = dialled("ab", 0, answering="ab")
    assert (type(error), shares) == (TimeoutError, [])


@pytest.mark.parametrize(
    ("cause", "seconds", "unreachable"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), 0.1, True),
        (OSError(errno.EHOSTUNREACH, "no route"), 0.1, True),
        (TimeoutError("timed out"), 10.0, True),
        (TimeoutError("timed out"), 0.1, False),
        (ConnectionResetError(errno.ECONNRESET, "reset"), 10.0, False),
        (ssl.SSLCertVerificationError("expired"), 10.0, False),
        (Refused(), 10.0, False),
    ],
)
def test_a_host_is_unreachable_where_everybody_would_find_it_so(cause, seconds, unreachable):
    assert NoConnectionError(cause, seconds).unreachable == unreachable
    wrapped = Refused()
    wrapped.__cause__ = cause
    assert NoConnectionError(wrapped, seconds).unreachable == unreachable


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), ("not PEM", "not a PEM file"), ("", "not a PEM file")]
)
def test_authorities_that_cannot_be_used(content, reason, tmp_path):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=reason) as raised:
        client_context(str(path))
    assert str(path) in str(raised.value)


def test_only_the_given_authorities_are_trusted(ca_file):
    assert client_context(ca_file).cert_store_stats()["x509_ca"] == 1
    assert client_context(None).check_hostname
