"""How every client of HTTP takes answers: interim ones, odd ones, and those that never end."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from extension_kit.agent.address import Address
from extension_kit.agent.agent_api import AgentRefusedError, call_agent_api
from extension_kit.agent.connection import Connection as AgentConnection
from extension_kit.agent.connection import NoAnswerError
from extension_kit.agent.registration import Registration
from extension_kit.apscheduler.connection import Connection as CronEyeConnection
from extension_kit.outgoing.response import MAX_HEAD, MAX_INTERIM
from extension_kit.senders.http import HttpSender
from tests.support.receivers import TIMEOUT, Receiver, drip, local_addresses, message, reply, silence

Ask = Callable[[str, float], bool]
"""Sends something to a URL, within seconds, and returns whether that was a success."""

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


class Asking:
    """One client of each sort, which keeps its connections from request to request."""

    excerpt_seconds = 0.1

    def __init__(self) -> None:
        self._sender = HttpSender(local_addresses(), timeout=TIMEOUT, excerpt_seconds=self.excerpt_seconds)
        self._croneye: CronEyeConnection | None = None
        self._agent: AgentConnection | None = None

    def close(self) -> None:
        for client in (self._sender, self._croneye):
            if client:
                client.close()
        if self._agent:
            self._agent.__exit__()

    def webhook(self, url: str, seconds: float) -> bool:
        return self._sender.send({"url": url, "timeout": seconds}, message()).result == "delivered"

    def apscheduler(self, url: str, seconds: float) -> bool:
        self._croneye = self._croneye or CronEyeConnection(
            url, "token", timeout=seconds, ca_file=None, excerpt_seconds=self.excerpt_seconds
        )
        outcome = self._croneye.post(b"{}")
        assert outcome.result != "refused"  # which would be for good
        return outcome.result == "delivered"

    def agent(self, url: str, seconds: float) -> bool:
        self._agent = self._agent or AgentConnection(
            Address.parse(url), timeout=seconds, grace=0.0, excerpt_seconds=self.excerpt_seconds
        )
        with suppress(NoAnswerError):
            return self._agent.send("POST", "/events/all", b"{}").status == 200
        return False

    def register(self, url: str, seconds: float) -> bool:
        extension = Registration(Address.parse("http://oncall:8080"))
        with suppress(AgentRefusedError):
            call_agent_api("POST", url, extension, "key", timeout=seconds, excerpt_seconds=self.excerpt_seconds)
            return True
        return False


@pytest.fixture
def clients() -> Iterator[Asking]:
    clients = Asking()
    yield clients
    clients.close()


@pytest.fixture(params=["webhook", "apscheduler", "agent", "register"])
def ask(request: pytest.FixtureRequest, clients: Asking) -> Ask:
    chosen: Ask = getattr(clients, request.param)
    return chosen


@pytest.fixture(params=["webhook", "apscheduler", "agent"])
def ask_again(request: pytest.FixtureRequest, clients: Asking) -> Ask:
    """Those that keep connections."""
    chosen: Ask = getattr(clients, request.param)
    return chosen


def there_is(receiver: Callable[..., Receiver], answer: object) -> tuple[Receiver, str]:
    there = receiver(answer=lambda request: answer)
    return there, there.url("", "127.0.0.1").rstrip("/")


def fields(count: int, size: int) -> dict[str, str]:
    return {f"X-{number}": "x" * size for number in range(count)}


TAKEN = {
    "early hints": HINTS + reply(),
    "processing": b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + reply(),
    "continue and hints": b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS + reply(),
    "unknown interim": b"HTTP/1.1 199 Whatever\r\nContent-Length: 5\r\n\r\n" + reply(),
    "many interim": HINTS * MAX_INTERIM + reply(),
    "many headers": reply(**fields(150, 1)),
    "a long header": reply(**fields(1, 70_000)),
    "a long head": reply(**fields(15, 60_000)),
    "length after many headers": b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 150 + b"Content-Length: 0\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\n\t3\r\nContent-Length: 0\r\n\r\n",
    "zero byte": b"HTTP/1.1 200 OK\r\nX-A: \x00\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("answer", TAKEN.values(), ids=TAKEN)
def test_the_final_status_decides(ask: Ask, receiver: Callable[..., Receiver], answer: bytes) -> None:
    there, url = there_is(receiver, answer)
    assert ask(url, TIMEOUT)
    assert len(there.requests) == 1


NOT_TAKEN = {
    "a failure after hints": HINTS + reply(500),
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + reply(),
    "endless interim": HINTS * (MAX_INTERIM + 1) + reply(),
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * (MAX_HEAD // 11 + 1) + b"\r\n",
    "a header without end": b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * (MAX_HEAD + 1) + b"\r\n\r\n",
    "hints that sum up": HINTS.replace(b"</style.css>", b"x" * (MAX_HEAD // 10)) * 11 + reply(),
    "no status": b"HTTP/1.1 200OK\r\n\r\n",
    "a status of four": b"HTTP/1.1 2000 OK\r\n\r\n",
}


@pytest.mark.parametrize("answer", NOT_TAKEN.values(), ids=NOT_TAKEN)
def test_what_is_no_success(ask: Ask, receiver: Callable[..., Receiver], answer: bytes) -> None:
    there, url = there_is(receiver, answer)
    assert not ask(url, TIMEOUT)
    assert len(there.requests) == 1


def test_only_hints_and_then_nothing_ends_in_time(ask: Ask, receiver: Callable[..., Receiver]) -> None:
    def hint(connection: socket.socket) -> None:
        connection.sendall(HINTS)
        silence(connection)

    there, url = there_is(receiver, hint)
    assert not ask(url, 0.3)
    assert there.server.ended.get(timeout=TIMEOUT) is None


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 103 Early Hints\r\nX-Long: "],
    ids=["status", "name", "value", "interim"],
)
def test_a_head_that_drips_is_cut_off(ask: Ask, receiver: Callable[..., Receiver], start: bytes) -> None:
    there, url = there_is(receiver, drip(start))
    assert not ask(url, 0.3)
    assert isinstance(there.server.ended.get(timeout=TIMEOUT), OSError)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
    ids=["to the end", "length", "chunked", "trailer"],
)
@pytest.mark.parametrize(
    "more", [drip, lambda head: lambda connection: (connection.sendall(head), silence(connection))]
)
def test_a_body_that_never_comes_is_not_waited_for(
    ask: Ask, receiver: Callable[..., Receiver], head: bytes, more: Callable[[bytes], object]
) -> None:
    there, url = there_is(receiver, more(head))
    started = time.monotonic()
    assert ask(url, 60)
    assert time.monotonic() - started < 30  # half of what it might have waited
    there.server.ended.get(timeout=TIMEOUT)


LEFTOVERS = {
    "in one piece": (reply() + reply(500), b""),
    "the next's beginning": (reply() + b"HT", b"TP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n"),
    "later": (reply(), reply(500)),
    "after hints": (HINTS + reply(), reply(500)),
    "after another protocol": (b"HTTP/1.1 101 Switching\r\n\r\n", reply(500)),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 2\r\n\r\n", reply(500)),
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        reply(500),
    ),
    "strange length": (b"HTTP/1.1 200 OK\r\nContent-Length: 0_0\r\n\r\n", reply(500)),
    "many headers": (reply(**fields(150, 1)), reply(500)),
}


@pytest.mark.parametrize(("answer", "later"), LEFTOVERS.values(), ids=LEFTOVERS)
def test_what_is_left_of_an_answer_is_never_the_next_one(
    ask_again: Ask, receiver: Callable[..., Receiver], answer: bytes, later: bytes
) -> None:
    there = receiver(answer=lambda request: answer if len(there.requests) == 1 else reply())
    url = there.url("", "127.0.0.1").rstrip("/")
    ask_again(url, TIMEOUT)
    for first in list(there.server.connections):  # unless the client has closed it, which is as well
        with suppress(OSError):
            first.sendall(later)
    assert ask_again(url, TIMEOUT)
    assert len(there.requests) == 2
    assert there.server.accepted == 2


def test_a_connection_is_kept_after_an_answer_as_it_should_be(
    ask_again: Ask, receiver: Callable[..., Receiver]
) -> None:
    there, url = there_is(receiver, reply(200, b"x" * 1000))
    assert all(ask_again(url, TIMEOUT) for _ in range(3))
    assert there.server.accepted == 1


def test_the_registration_document_has_to_have_an_end(receiver: Callable[..., Receiver]) -> None:
    _, url = there_is(receiver, drip(b"HTTP/1.1 200 OK\r\n\r\n"))
    with (
        AgentConnection(Address.parse(url), timeout=0.3, grace=0.0) as agent,
        pytest.raises(NoAnswerError, match=r"no answer within 0\.3 seconds"),
    ):
        agent.index(None)
