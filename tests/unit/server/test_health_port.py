"""The health port, asked over real sockets by clients of every kind at once."""

import http.client
import logging
import os
import signal
import socket
import threading
import time
import warnings
from contextlib import suppress

import pytest

from extension_kit.server import client_mistakes as mistakes
from extension_kit.server import health_port
from extension_kit.server.health_port import HealthPort
from tests.support.waiting import wait_until


class Served:
    def __init__(self, is_ready, reasons=tuple):
        listening = socket.create_server(("127.0.0.1", 0))
        self.server = HealthPort([listening], "127.0.0.1", is_ready, reasons=reasons)
        self.server.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=30)

    def get(self, path: str, method: str = "GET", headers=None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            connection.request(method, path, headers=headers or {})
            return connection.getresponse().status
        finally:
            connection.close()

    def exchange(self, data: bytes) -> bytes:
        """Everything the server sends for some bytes, until it closes."""
        with self.connect() as client:
            client.sendall(data)
            return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.fixture
def serve():
    started = []

    def start(is_ready=lambda: True, reasons=tuple) -> Served:
        started.append(Served(is_ready, reasons))
        return started[-1]

    yield start
    for each in started:
        each.server.stop()


class Dripping:
    """Clients that send a byte of a request's head again and again, as many as asked for; those that are cut off are
    followed by others."""

    def __init__(self, served: Served, clients: int):
        self._served, self._ended = served, threading.Event()
        self._clients = [served.connect() for _ in range(clients)]
        self.opened = clients
        self._thread = threading.Thread(target=self._drip)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join(30)
        for client in self._clients:
            client.close()

    def _drip(self):
        while not self._ended.wait(0.2):
            for place, client in enumerate(self._clients):
                try:
                    client.sendall(b"G" if client.send(b"GET / HTTP/1.1\r\nX: ") else b"")
                except OSError:
                    client.close()
                    self._clients[place] = self._served.connect()
                    self.opened += 1


@pytest.mark.parametrize("clients", [150, 450])
def test_clients_that_drip_keep_no_probe_out(serve, clients):
    served = serve()
    with Dripping(served, clients) as dripping:
        for _ in range(20):
            assert [served.get(f"/health/{probe}") for probe in ("liveness", "readiness")] == [200, 200]
        wait_until(lambda: dripping.opened > clients)  # none of them is kept
        assert served.get("/health/liveness") == 200
        assert len(served.server.connections) <= health_port._MAX_CONNECTIONS


def test_a_request_has_to_be_there_as_a_whole_in_time(serve):
    served = serve()
    with served.connect() as client:
        client.sendall(b"GET /health/liveness HTTP/1.1\r\nX: ")

        def answer():
            client.sendall(b"x")  # each byte comes sooner than a limit for each read would
            client.settimeout(0.1)
            with suppress(TimeoutError):
                return client.recv(100)

        assert wait_until(answer).startswith(b"HTTP/1.1 408")


def test_the_oldest_connection_makes_room(serve, monkeypatch):
    monkeypatch.setattr(health_port, "_MAX_CONNECTIONS", 3)
    monkeypatch.setattr(health_port, "_READ_TIMEOUT", 600)
    served = serve()
    clients = []
    for number in range(4):
        clients.append(served.connect())
        wait_until(lambda number=number: len(served.server.connections) == min(number + 1, 3))
    try:
        with suppress(ConnectionResetError):
            assert clients[0].recv(1) == b""
        for client in clients[2:]:
            client.sendall(b"GET /health/liveness HTTP/1.1\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
    finally:
        for client in clients:
            client.close()


def test_liveness_is_told_while_readiness_and_metrics_hang(serve):
    go_on = threading.Event()
    served = serve(lambda: go_on.wait(60))
    try:
        waiting = [served.connect() for _ in range(20)]
        for client in waiting:
            client.sendall(b"GET /health/readiness HTTP/1.1\r\n\r\n")
        assert [served.get("/health/liveness") for _ in range(5)] == [200] * 5
        go_on.set()
        assert [client.recv(12) for client in waiting] == [b"HTTP/1.1 200"] * 20
    finally:
        go_on.set()
        for client in waiting:
            client.close()


def test_a_readiness_that_is_not_found_out_in_time_is_off(serve, monkeypatch):
    monkeypatch.setattr(health_port, "_ANSWER_TIMEOUT", 0.2)
    go_on = threading.Event()
    served = serve(lambda: go_on.wait(60))
    try:
        assert served.get("/health/readiness") == 503
    finally:
        go_on.set()


def test_a_readiness_that_cannot_be_found_out_is_an_error(serve, caplog):
    served = serve(lambda: 1 / 0)
    assert served.get("/health/readiness") == 500
    assert "Request for /health/readiness failed" in caplog.text
    assert served.get("/health/liveness") == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /health/liveness HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET /health/liveness?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET /nothing HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /health/liveness HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", b"404 Not Found"),
        (b"nonsense\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, b"400 Bad Request"),
        (b"GET /health/liveness HTTP/1.1\r\n\r\n" * 3, b"200 OK"),
    ],
)
def test_answers(serve, data, status):
    answer = serve().exchange(data)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1 ") == 1


def test_tls_at_the_health_port_is_named(serve, caplog, monkeypatch):
    monkeypatch.setattr(mistakes, "_logged", {})
    served = serve()
    for _ in range(3):
        assert served.exchange(b"\x16\x03\x01\x02\x00\x01\x00").startswith(b"HTTP/1.1 400")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "TLS to the health port" in record.getMessage()


def test_a_forked_process_keeps_no_connection_open(serve):
    served = serve()
    with served.connect() as client:
        wait_until(lambda: served.server.connections)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of newer Pythons: there are threads
            child = os.fork()
        if child == 0:
            served.server.close_after_fork()
            time.sleep(60)
            os._exit(0)
        try:
            client.sendall(b"GET /health/liveness HTTP/1.1\r\n\r\n")
            assert b"".join(iter(lambda: client.recv(100), b"")).startswith(b"HTTP/1.1 200")  # and then the end
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_functions_that_are_not_ready_do_not_keep_events_out(serve):
    reasons, accepts = [], [True]
    served = serve(lambda: accepts[0], lambda: reasons)
    paths = "/health/readiness", "/health/readiness/accepting", "/health/liveness"
    assert [served.get(path) for path in paths] == [200, 200, 200]
    reasons += ["extension-oncall: no connection", "extension-other: refused"]
    assert [served.get(path) for path in paths] == [503, 200, 200]
    answer = served.exchange(b"GET /health/readiness HTTP/1.1\r\n\r\n")
    assert answer.endswith(b"extension-oncall: no connection\nextension-other: refused")
    accepts[0] = False
    assert [served.get(path) for path in paths] == [503, 503, 200]
