"""Many clients at a time that send slowly, do not read, or send much: the others are served, and memory is bounded."""

import http.client
import json
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.servers import SERVE, listens, run_server, serve_app
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
CROWD = """
from extension_kit import Event, Extension

extension = Extension("extension-crowd")

@extension.listen_to("killswitch.engaged", immediate=True)
def page(event: Event) -> None:
    pass
"""
LOGIN = "/croneye/api/auth/login"
AHEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def megabytes(pid, field):
    """A field of a process's /proc/PID/status: VmRSS is what it uses now, VmHWM the most that it has used."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) // 1024


@contextmanager
def crowd(server, number, **options):
    connections = []
    try:
        for _ in range(number):
            connections.append(server.raw())
        yield connections
    finally:
        for connection in connections:
            connection.close()


def answer_of(connection):
    """The status, headers and body of the answer that a client gets before its connection ends."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def head(path, *lines):
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: a", *lines, "", ""]).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for crowds, which must be as good as new after them, with nothing in its log to worry about."""
    folder = tmp_path_factory.mktemp("crowds")
    (folder / "crowd.py").write_text(CROWD)
    with run_server(
        [*SERVE, str(ROOT / "extensions/croneye"), str(folder / "crowd.py")],
        folder / "log",
        EXTENSION_CRONEYE_TOKEN="secret",
        EXTENSION_WEB_THREADS=4,
        EXTENSION_READ_TIMEOUT=120,
        EXTENSION_WRITE_TIMEOUT=120,
    ) as server:
        wait_until(lambda: listens(server) and server.health("readiness") == 200)
        yield server
        assert server.request("GET", "/").status == 200
        assert "Traceback" not in server.log
        assert " ERR " not in server.log


class TestBodiesThatComeSlowly:
    @pytest.mark.parametrize("framing", ["Content-Length: 500", "Transfer-Encoding: chunked"])
    @pytest.mark.parametrize("path", [LOGIN, "/event", "/", "/openapi.json", "/health/liveness", "/nothing"])
    def test_they_hold_no_thread(self, server, event, path, framing):
        with crowd(server, 24) as connections:
            for connection in connections:
                connection.sendall(head(path, framing, "Authorization: Token secret") + b"1\r\n{\r\n")
            assert server.request("GET", "/").status == 200
            assert server.post(LOGIN, {"email": "a@example.com", "password": "wrong"}).status in (401, 404)
            assert server.post("/events/page", event("killswitch.engaged")).status == 200
            for connection in connections:
                connection.sendall(b"1\r\n")  # none of them was cut off

    @pytest.mark.parametrize("chunked", [False, True])
    def test_what_came_byte_by_byte_is_whole(self, server, chunked):
        body = json.dumps({"email": "a@example.com", "password": "wrong"}).encode()
        expected = server.post(LOGIN, body)
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        data = head(LOGIN, "Content-Type: application/json", "Connection: close", framing)
        data += b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n" if chunked else body
        with server.raw() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for place in range(len(data)):
                connection.sendall(data[place : place + 1])
            status, _, answered = answer_of(connection)
        assert (status, answered) == (expected.status, expected.body)

    @pytest.mark.parametrize("chunked", [False, True])
    @pytest.mark.parametrize("path", [LOGIN, "/event"])
    def test_one_over_the_limit_is_refused_by_whose_path_it_is(self, server, path, chunked):
        size = 9 * 1024**2
        body = iter([b" " * 1024**2] * 9) if chunked else b" " * size
        headers = {"Transfer-Encoding": "chunked"} if chunked else {}
        reply = server.request("POST", path, body, {"Authorization": "Token secret", **headers}, chunked=chunked)
        assert reply.status == 413


class TestClientsThatDoNotRead:
    def test_requests_sent_ahead_wait_as_bytes(self, server, event):
        (worker,) = server.children("serve")
        server.request("GET", "/")
        before = megabytes(worker, "VmRSS")
        with crowd(server, 64) as connections:
            for connection in connections:
                connection.setblocking(False)
                with suppress(BlockingIOError):
                    connection.send(AHEAD * (65_000 // len(AHEAD)))
            for _ in range(10):
                assert server.post("/events/page", event("killswitch.engaged")).status == 200
                assert server.request("GET", "/").status == 200
            assert megabytes(worker, "VmHWM") - before < 150  # 450 if each request became objects
        wait_until(lambda: server.request("GET", "/").status == 200)

    def test_all_that_was_sent_ahead_is_answered_in_order(self, server):
        chunked = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: b\r\n\r\n"
        one = b"POST /events/page HTTP/1.1\r\nHost: a\r\n"
        turn = [AHEAD, one + b"Content-Length: 2\r\n\r\n{}", b"GET /no HTTP/1.1\r\nHost: a\r\n\r\n", one + chunked]
        data = b"".join(turn) * 100 + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        for size in (len(data), 4096, 7):
            with server.raw() as connection:
                sender = threading.Thread(target=send_in_pieces, args=(connection, data, size))
                sender.start()
                reader = connection.makefile("rb")
                statuses = []
                while line := reader.readline():
                    statuses.append(int(line.split()[1]))
                    headers = http.client.parse_headers(reader)
                    reader.read(int(headers["Content-Length"]))
                sender.join(30)
            assert statuses == [200, 422, 404, 422] * 100 + [200]

    def test_those_that_leave_are_no_errors(self, server):
        with crowd(server, 20) as connections:
            for connection in connections:
                connection.sendall(AHEAD * 1000)
            for connection in connections:
                assert connection.recv(10) == b"HTTP/1.1 2"
                # closed by a reset, in the middle of its answers
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for data in (AHEAD, head("/events/page", "Content-Length: 5"), head(LOGIN, "Content-Length: 5") + b"{"):
            with server.raw() as connection:
                connection.sendall(data)
        assert server.request("GET", "/").status == 200  # and the log is looked at in the end

    @pytest.fixture
    def talkative(self, tmp_path):
        """An extension whose registration document has more than half a megabyte."""
        document = {"actions": [{"method": "GET", "path": f"/actions/{number:0100}"} for number in range(4000)]}
        (tmp_path / "talkative.py").write_text(f"{CROWD}\nextension.extend_index(lambda: {document})\n")
        return str(tmp_path / "talkative")

    def test_an_answer_that_is_not_taken_in_time_ends_the_connection(self, served, talkative):
        with served(talkative, EXTENSION_WRITE_TIMEOUT=1) as server, deaf_clients(server, 1) as clients:
            wait_until(lambda: cut_off(clients))
            assert server.request("GET", "/").status == 200
            assert "Traceback" not in server.log

    def test_those_that_take_least_go_when_answers_are_too_much(self, served, talkative):
        limits = {"EXTENSION_MAX_INFLIGHT_MEGABYTES": 1, "EXTENSION_WRITE_TIMEOUT": 600}
        with served(talkative, **limits) as server, deaf_clients(server, 4) as clients:
            gone = wait_until(lambda: cut_off(clients))
            assert len(gone) < len(clients)
            assert server.request("GET", "/").status == 200
            assert "Traceback" not in server.log

    def test_connections_that_do_nothing_give_way(self, served):
        patience = {"EXTENSION_READ_TIMEOUT": 600, "EXTENSION_KEEP_ALIVE": 600}
        halves = [b"", b"GET / HTTP/1.1\r\nA: b", head("/events/page", "Content-Length: 5"), AHEAD]
        with served("oncall", EXTENSION_MAX_CONNECTIONS=4, **patience) as server, crowd(server, 4) as connections:
            for connection, sent in zip(connections, halves, strict=True):
                connection.sendall(sent)
            newcomers = []

            def is_served():
                newcomers.append(server.raw())
                newcomers[-1].sendall(AHEAD)
                return newcomers[-1].recv(12) == b"HTTP/1.1 200"

            for _ in range(4):
                wait_until(is_served)
            for connection in newcomers:
                connection.close()


@contextmanager
def deaf_clients(server, number):
    """Clients that never read, and have little room for what they are sent."""
    clients = []
    try:
        for _ in range(number):
            clients.append(socket.socket())
            clients[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            clients[-1].connect(("127.0.0.1", server.port))
            clients[-1].setblocking(False)
        yield clients
    finally:
        for client in clients:
            client.close()


def cut_off(clients):
    """Ask for more, and see whose connection is gone."""
    gone = []
    for client in clients:
        try:
            client.send(AHEAD * 10)
        except BlockingIOError:
            pass
        except ConnectionError:
            gone.append(client)
    return gone


def send_in_pieces(connection, data, size):
    for place in range(0, len(data), size):
        connection.sendall(data[place : place + size])


LARGE = b" " * 300_000


@pytest.fixture(scope="class")
def small(tmp_path_factory):
    """A server with room for a megabyte of bodies, whose functions wait until they are let go."""
    folder = tmp_path_factory.mktemp("small")
    release = folder / "release"
    (folder / "calls").touch()
    limits = {"EXTENSION_MAX_INFLIGHT_MEGABYTES": 1, "CALLS": folder / "calls", "RELEASE": release}
    with serve_app("answers", folder / "log", **limits) as server:
        server.calls, server.release = folder / "calls", release
        yield server
        assert "Traceback" not in server.log


class TestBytesInFlight:
    @pytest.fixture
    def full(self, small, event):
        """A server whose room is taken: by three large events, whose functions wait."""
        small.release.unlink(missing_ok=True)
        small.calls.write_text("")
        replies = []

        def send():
            replies.append(small.post("/events/waits", self.large(event)).status)

        def began():
            return small.calls.read_text().count("waits-")

        def returned():
            return small.calls.read_text().count("waited")

        threads = [threading.Thread(target=send) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: began() == 2)

        def is_answered_before_it_returns():
            reply = small.post("/events/waits", self.large(event), {"Request-Timeout": "0.5"})
            return reply.status == 503 and began() == 3

        wait_until(is_answered_before_it_returns)  # its function has the body still
        yield small
        small.release.touch()
        for thread in threads:
            thread.join(30)
        assert replies == [200, 200]
        wait_until(lambda: returned() == began())  # else it may miss the file, which the next test removes
        wait_until(lambda: small.post("/events/fine", self.large(event)).status == 200)

    def large(self, event):
        return json.dumps(event("killswitch.engaged", id=str(uuid4()))).encode() + LARGE

    @pytest.mark.parametrize("path", ["/events/fine", "/events/waits", "/", "/nothing"])
    def test_a_request_is_refused_before_its_body_is_sent(self, full, path):
        with full.raw() as connection:
            connection.sendall(head(path, "Content-Length: 300000", "Request-Id: findme"))
            status, headers, body = answer_of(connection)
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert headers["request-id"] == "findme"
            assert json.loads(body)["title"] == "Too much is being received"

    @pytest.mark.parametrize("framing", ["Content-Length: 4000000", "Transfer-Encoding: chunked"])
    def test_a_client_that_sends_all_first_sees_the_answer(self, full, framing):
        body = b" " * 4_000_000
        sent = body if "Length" in framing else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        with full.raw() as connection:
            connection.sendall(head("/events/fine", framing) + sent)
            status, headers, _ = answer_of(connection)
            assert (status, headers["retry-after"]) == (503, "1")
            assert connection.recv(10) == b""

    def test_small_ones_are_served(self, full, event):
        for _ in range(20):
            assert full.post("/events/fine", event("killswitch.engaged")).status == 200
        assert full.request("GET", "/").status == 200

    def test_the_log_says_it_once_in_a_while_and_names_the_setting(self, full):
        for _ in range(5):
            assert full.request("POST", "/events/fine", LARGE).status == 503
        lines = [line for line in full.log.splitlines() if "EXTENSION_MAX_INFLIGHT_MEGABYTES" in line]
        assert len(lines) >= 1
        assert all(" WRN " in line for line in lines)

    def test_clients_that_announce_much_and_send_little_give_way(self, small, event):
        with crowd(small, 3) as connections:
            for connection in connections:
                connection.sendall(head("/events/fine", "Content-Length: 340000") + b" ")
            wait_until(lambda: small.post("/events/fine", self.large(event)).status == 200)
            assert answer_of(connections[0])[0] == 503

    def test_the_largest_body_has_room_when_there_is_no_other(self, small, event):
        body = json.dumps(event("killswitch.engaged")).encode() + b" " * (8 * 1024**2 - 5000)
        wait_until(lambda: small.post("/events/fine", body).status == 200)


@pytest.mark.parametrize(
    ("number", "more"),
    [(40, {"text": "x" * 7_000_000}), (10, {"objects": [{"a": n, "b": str(n)} for n in range(240_000)]})],
    ids=["forty long texts", "ten with many objects"],
)
def test_large_events_at_once_stay_within_the_memory_of_the_chart(served, event, number, more):
    """Of 7 MB each, all of them accepted in the end; the deliveries are made beside it, as in the chart's pod."""
    limit = 512  # MiB: resources.limits.memory of the chart
    bodies = [json.dumps({**event("experiment.execution.failed"), **more}).encode() for _ in range(number)]
    with served("oncall") as server:
        statuses = set()

        def send(body):
            def is_accepted():
                statuses.add(status := server.post("/events/page", body).status)
                if status == 503:
                    time.sleep(0.2)  # as Retry-After says, but for the tests' time
                return status == 200

            wait_until(is_accepted, timeout=180)

        threads = [threading.Thread(target=send, args=(body,)) for body in bodies]
        wait_until(lambda: server.children("worker"))
        processes = [server.process.pid, *server.children("serve"), *server.children("worker")]
        most = 0
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most = max(most, sum(proportional_megabytes(pid) for pid in processes))
            time.sleep(0.05)
        assert statuses == {200, 503}
        assert len(processes) == 3
        assert 100 < most < limit


def proportional_megabytes(pid):
    """What a process uses, of pages that several share its part: summed, it is about what a container is charged."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1024
