"""Requests with events that are taken without parsing them: which ones, and that nobody sees a difference."""

import json
import re
import socket
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count

import pytest
import uvicorn

from extension_kit import Extension
from extension_kit.runtime.service import Service
from extension_kit.server.asgi import AsgiApplication
from extension_kit.server.event_protocol import EventHttpProtocol
from extension_kit.server.in_flight import SMALL, Limits
from extension_kit.server.known_heads import KnownHead, KnownHeads
from extension_kit.settings.kit import Settings
from tests.support.waiting import wait_until

HEAD = "POST /events/heard HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
NUMBERS = count(1)


class Counting(AsgiApplication):
    """Counts the requests that come by ASGI."""

    def __init__(self, service):
        super().__init__(service)
        self.parsed = 0

    async def __call__(self, scope, receive, send):
        self.parsed += scope["type"] == "http"
        await super().__call__(scope, receive, send)


class Running:
    """A server in a thread of this process.

    Attributes:
        heard: ids of the events that functions got.
        gate: the function ``waits`` waits for it.
    """

    def __init__(self, limits=(), **settings):
        extension = Extension("doors")
        self.heard = []
        self.gate = threading.Event()

        @extension.listen_to("*", immediate=True)
        def heard(event):
            self.heard.append(event.id)

        @extension.listen_to("*", immediate=True)
        def waits(event):
            self.heard.append(event.id)
            self.gate.wait(30)

        self.service = Service.of([extension], Settings(**settings), durable=False).open()
        self.app = Counting(self.service)
        of_process = {"read_timeout": 30, "write_timeout": 30, "connections": 100, "body": 2**20, "in_flight": 2**24}
        self._server = uvicorn.Server(
            uvicorn.Config(
                self.app,
                http=partial(EventHttpProtocol, limits=Limits(**{**of_process, **dict(limits)})),
                ws="none",
                interface="asgi3",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=2,
                timeout_graceful_shutdown=2,
            )
        )
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    @contextmanager
    def started(self):
        self._thread.start()
        wait_until(lambda: self._server.started)
        try:
            yield self
        finally:
            self.gate.set()
            self.stop()
            self._thread.join(30)
            assert not self._thread.is_alive()

    def stop(self):
        self._server.should_exit = True

    def connect(self):
        connection = socket.create_connection(self._socket.getsockname(), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    @property
    def connections(self):
        return list(self._server.server_state.connections)

    @property
    def tasks(self):
        return self._server.server_state.tasks

    def has_begun(self):
        """Return True once a request is received in part."""
        return any(each._begun or each._is_parsing for each in self.connections)

    def warm_up(self, head=HEAD):
        """Have a head parsed, and count from there."""
        with self.connect() as connection:
            connection.sendall(request(b"{}", head))
            assert answer(connection)[0] == 422
        self.app.parsed = 0


@pytest.fixture(scope="module")
def shared():
    with Running().started() as running:
        yield running


@pytest.fixture
def server(shared):
    shared.warm_up()
    shared.heard.clear()
    return shared


def event(**changes):
    return {"id": f"event-{next(NUMBERS)}", "eventName": "killswitch.engaged", "tenant": {}, **changes}


def request(body, head=HEAD):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def answer(connection):
    """Return the status, the headers and the body of the next answer."""
    reader = connection.makefile("rb")
    status = int(reader.readline().split()[1])
    headers = {}
    while line := reader.readline().strip():
        name, _, value = line.decode().partition(": ")
        headers[name] = value
    return status, headers, reader.read(int(headers["content-length"]))


class TestTaken:
    def test_all_requests_after_the_first_are(self, server):
        events = [event(text="x" * size) for size in (1, 10, 100, 1000, 10_000)]
        with server.connect() as connection:
            for each in events:
                connection.sendall(request(each))
                assert answer(connection)[::2] == (200, b"{}")
        assert server.heard == [each["id"] for each in events]
        assert server.app.parsed == 0

    @pytest.mark.parametrize("place", [1, 20, len(HEAD) + 10, -300, -1])
    def test_the_body_may_come_in_another_piece(self, server, place):
        data = request(event(text="x" * 400))
        with server.connect() as connection:
            connection.sendall(data[:place])
            wait_until(server.has_begun)
            connection.sendall(data[place:])
            assert answer(connection)[0] == 200
        assert server.app.parsed == (place > 0)  # with a part of the head

    def test_answers_are_the_same_but_for_the_date(self, server):
        bodies = [
            b"",
            b"[]",
            b"{",
            b"{}",
            json.dumps(event(id="same")).encode(),
            json.dumps(event(id="same")).encode(),
            json.dumps(event(tenant=[1] * 200)).encode(),
            json.dumps(event(experimentExecution={"tags": [1] * 200})).encode(),
        ]
        heads = [HEAD, HEAD + "Accept-Encoding: gzip\r\n", HEAD + "Request-Timeout: 5\r\n"]
        for head in heads:
            server.warm_up(head + "Request-Id: the-same\r\n")
            for body in bodies:
                answers = []
                for sent in (head + "Request-Id: the-same\r\n", head + "Request-Id: the-same\r\nExpect: \r\n"):
                    with server.connect() as connection:
                        connection.sendall(request(body, sent))
                        status, headers, content = answer(connection)
                        answers.append((status, {**headers, "date": ""}, content))
                taken, parsed = answers
                taken[1].pop("extension-duplicate", None)
                parsed[1].pop("extension-duplicate", None)
                assert list(taken[1]) == list(parsed[1])
                assert taken == parsed
            assert server.app.parsed == len(bodies)

    def test_a_log_that_cannot_be_written_holds_up_nobody(self, server, monkeypatch, caplog):
        slow = HEAD.replace("heard", "waits")
        for head in (slow, slow + "Request-Timeout: 1.1\r\n"):
            server.warm_up(head)

        def fail(*_):
            raise OSError("no space left")

        monkeypatch.setattr(server.app.event_requests._access_log, "write", fail)
        server.gate.clear()
        with ExitStack() as stack:
            *waiting, timed = [stack.enter_context(server.connect()) for _ in range(4)]
            for connection in waiting:
                connection.sendall(request(event(), slow))
            wait_until(lambda: len(server.heard) == 3)
            for _ in range(2):
                timed.sendall(request(event(), slow + "Request-Timeout: 1.1\r\n"))
                assert answer(timed)[0] == 503
            server.gate.set()
            assert [answer(connection)[0] for connection in waiting] == [200, 200, 200]
        assert "left no trace" in caplog.text
        assert server.app.parsed == 0

    def test_a_failure_of_the_kit_is_answered_and_logged(self, server, monkeypatch, caplog):
        def fail(*_):
            raise RuntimeError("oops")

        monkeypatch.setattr(server.app.event_requests, "_receive", fail)
        with server.connect() as connection:
            connection.sendall(request(event()))
            assert answer(connection)[0] == 500
        assert "POST /events/heard failed" in caplog.text


class TestParsed:
    """Requests that are not simple."""

    @pytest.mark.parametrize(
        "head",
        [
            HEAD.replace("POST", "PUT"),
            HEAD.replace("1.1", "1.0"),
            HEAD.replace("heard", "nobody"),
            HEAD + "Connection: close\r\n",
            HEAD + "Expect: 100-continue\r\n",
            HEAD + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            HEAD + "X-Strength: 5\r\n",
            HEAD + "X-Long: " + "x" * 5000 + "\r\n",
        ],
        ids=["PUT", "HTTP/1.0", "unknown path", "close", "expect", "upgrade", "other length first", "long head"],
    )
    def test_whatever_is_unusual_about_the_head(self, server, head):
        for _ in range(3):
            with server.connect() as connection:
                connection.sendall(request(event(), head))
                assert re.match(rb"HTTP/1.1 (200|404|405|100) ", connection.recv(4096))
        assert server.app.parsed == 3

    def test_bodies_that_are_counted(self, server):
        with server.connect() as connection:
            for size in (SMALL - 1000, SMALL + 1000):
                connection.sendall(request(event(text="x" * size)))
                assert answer(connection)[0] == 200
        assert server.app.parsed == 1

    @pytest.mark.parametrize("length", ["", "0x20", "+5", "-5", "5, 5", "1" * 30, "5 5", "٣"])
    def test_what_is_no_length(self, server, length):
        with server.connect() as connection:
            connection.sendall((HEAD + f"Content-Length: {length}\r\n\r\n").encode() + b"12345")
            assert connection.recv(4096).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))

    def test_a_head_inside_of_a_body_is_none(self, server):
        inner = request(event(id="inner"))
        padded = HEAD.encode() + b"Content-Length: %d\r\n\r\n" % (SMALL + len(inner)) + b" " * SMALL
        with server.connect() as connection:
            connection.sendall(padded)
            wait_until(lambda: server.app.parsed)
            connection.sendall(inner)
            assert answer(connection)[0] == 400
        assert server.heard == []


class TestPipelining:
    def test_requests_sent_together_are_answered_in_order(self, server):
        events = [event() for _ in range(50)]
        with server.connect() as connection:
            connection.sendall(b"".join(map(request, events)))
            for _ in events:
                assert answer_of_many(connection)[0] == 200
        assert server.heard == [each["id"] for each in events]

    def test_those_sent_while_a_function_runs_wait(self, server):
        slow = HEAD.replace("heard", "waits")
        server.warm_up(slow)
        first, *others = events = [event() for _ in range(4)]
        server.gate.clear()
        with server.connect() as connection:
            connection.sendall(request(first, slow))
            wait_until(lambda: server.heard == [first["id"]])
            for each in others:
                connection.sendall(request(each))
            server.gate.set()
            for _ in events:
                assert answer_of_many(connection)[0] == 200
        assert server.heard == [each["id"] for each in events]


def answer_of_many(connection):
    """Return the status and the body of the next answer, and leave those after it unread."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1)
    size = int(re.search(rb"content-length: (\d+)", data)[1])
    return int(data.split()[1]), b"".join(connection.recv(1) for _ in range(size))


class TestTime:
    def test_an_idle_connection_is_closed_and_a_used_one_is_not(self, server):
        with server.connect() as used, server.connect() as idle:
            idle.sendall(request(event()))
            assert answer(idle)[0] == 200
            ended = threading.Event()
            threading.Thread(target=lambda: (idle.recv(1), ended.set())).start()
            while not ended.is_set():  # as long as another connection is idle for too long
                used.sendall(request(event()))
                assert answer(used)[0] == 200
                ended.wait(0.1)
        assert server.app.parsed == 0

    @pytest.mark.parametrize("seconds", ["0.3", "1.1"])
    def test_a_slow_function_is_answered_for(self, server, seconds):
        slow = HEAD.replace("heard", "waits") + f"Request-Timeout: {seconds}\r\n"
        server.warm_up(slow)
        server.gate.clear()
        with server.connect() as connection:
            for _ in range(2):
                connection.sendall(request(event(), slow))
                assert answer(connection)[::2] == (503, b"Timeout")
            server.gate.set()
            connection.sendall(request(event()))
            assert answer(connection)[0] == 200
        assert server.app.parsed == 0
        wait_until(lambda: not server.app.event_requests._waiting)

    def test_a_body_that_does_not_come_is_waited_for_as_long_as_any(self):
        with Running({"read_timeout": 1}).started() as server, server.connect() as connection:
            connection.sendall(request(b"{}"))
            assert answer(connection)[0] == 422
            server.app.parsed = 0
            connection.sendall(request(event())[:-1])
            assert answer(connection)[0] == 408
            assert connection.recv(1) == b""
            assert server.app.parsed == 0


class TestStopping:
    @pytest.mark.parametrize("opens", [True, False])
    def test_a_request_in_progress_is_answered(self, opens):
        slow = HEAD.replace("heard", "waits")
        with ExitStack() as stack:
            server = stack.enter_context(Running().started())
            server.warm_up(slow)
            connection = stack.enter_context(server.connect())
            connection.sendall(request(event(), slow))
            wait_until(lambda: server.heard)
            server.stop()
            wait_until(lambda: all(each._stopping for each in server.connections))
            if opens:
                server.gate.set()
            status, headers, _ = answer(connection)
            assert status == (200 if opens else 503)
            assert headers["connection"] == "close"
            assert connection.recv(1) == b""
            assert server.app.parsed == 0

    def test_one_that_has_begun_is_received(self):
        with Running().started() as server, server.connect() as connection:
            server.warm_up()
            data = request(event())
            connection.sendall(data[:-1])
            wait_until(server.has_begun)
            server.stop()
            wait_until(lambda: server.app.parsed)
            connection.sendall(data[-1:])
            status, headers, _ = answer(connection)
            assert (status, headers["connection"]) == (200, "close")


def test_a_client_that_leaves_is_no_error(server, caplog):
    slow = HEAD.replace("heard", "waits")
    server.warm_up(slow)
    server.gate.clear()
    connection = server.connect()
    connection.sendall(request(event(), slow))
    wait_until(lambda: server.heard)
    connection.close()
    wait_until(lambda: not server.connections)
    server.gate.set()
    wait_until(lambda: not server.app.event_requests._waiting)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    assert not server.tasks


def test_only_heads_with_the_right_password_are_known():
    settings = {"basic_username": "agent", "basic_password": "secret"}
    right, wrong = (HEAD + f"Authorization: Basic {text}\r\n" for text in ("YWdlbnQ6c2VjcmV0", "YWdlbnQ6d3Jvbmc="))
    with Running(**settings).started() as server:
        for head, status in ((HEAD, 401), (wrong, 401), (right, 200)) * 3:
            with server.connect() as connection:
                connection.sendall(request(event(), head))
                assert answer(connection)[0] == status
        assert len(server.app.event_requests.heads) == 1
        assert server.app.parsed == 7


class TestKnownHeads:
    KNOWN = KnownHead(None, "", None, "", "")

    def test_they_are_bounded(self):
        heads = KnownHeads(limit=3)
        texts = [b"POST /%d HTTP/1.1\r\nContent-Length: 5" % number for number in range(5)]
        for text in texts:
            heads.learn(text, self.KNOWN)
        assert [heads.find(text) is not None for text in texts] == [False, False, True, True, True]

    def test_only_the_length_may_differ(self):
        heads = KnownHeads()
        heads.learn(b"POST / HTTP/1.1\r\ncontent-length: 5\r\nHost: a", self.KNOWN)
        assert heads.find(b"POST / HTTP/1.1\r\ncontent-length: 77\r\nHost: a") == (self.KNOWN, 77)
        assert heads.find(b"POST / HTTP/1.1\r\ncontent-length: 77\r\nHost: b") is None
        assert heads.find(b"POST / HTTP/1.1\r\ncontent-length: 77") is None
        assert heads.find(b"POST / HTTP/1.1\r\ncontent-length: 7 7\r\nHost: a") is None
