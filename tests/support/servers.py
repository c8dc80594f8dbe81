"""Servers as users start them, for tests that talk to them over sockets."""

import atexit
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import APPS, BIN, KIT
from tests.support.waiting import wait_until


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


_claims: deque[socket.socket] = deque()
atexit.register(lambda: [claim.close() for claim in _claims])
_MOST_CLAIMS = 100  # ports that were chosen a while ago are bound by their servers, or were given up


def free_port() -> int:
    """A port that no other test chooses before a server is bound to it.

    It is below those that outgoing connections are given: none of them takes it either.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        with (
            suppress(OSError),
            socket.create_server(("", port), family=family, dualstack_ipv6=socket.has_dualstack_ipv6()),
        ):
            _claim(port)
            return port


def _claim(port: int) -> None:
    """Claim a port for this process among all that run tests on this machine; OSError if another has claimed it."""
    if sys.platform != "linux":
        return
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0extension-kit-test-port-{port}")  # an abstract name, which ends with the process
    except OSError:
        claim.close()
        raise
    _claims.append(claim)
    while len(_claims) > _MOST_CLAIMS:
        _claims.popleft().close()


class Served:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen, port: int, health_port: int, log: Path):
        self.process = process
        self.port = port
        self.health_port = health_port
        self._log = log
        self.url = f"http://127.0.0.1:{port}"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, *, chunked=False) -> Reply:
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {}, encode_chunked=chunked)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def post(self, path, event, headers=None) -> Reply:
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        return self.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})})

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def health(self, probe: str) -> int:
        """The status of a probe, or 0 where nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=30)
        try:
            connection.request("GET", f"/health/{probe}")
            return connection.getresponse().status
        except ConnectionError:
            return 0
        finally:
            connection.close()

    def children(self, command: str) -> set[int]:
        """The processes it has started for a command: "serve" for the web, "worker" for deliveries.

        Read from /proc: `ps` is not everywhere, and cuts lines to what it believes the width of a screen.
        """
        found = set()
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):  # it has ended meanwhile
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid:
                    arguments = Path(f"/proc/{entry}/cmdline").read_text().split("\0")
                    found |= {int(entry)} if command in arguments else set()
        return found

    def kill_all(self) -> None:
        """Kill the server and all processes of its group at once, and wait until none of them runs any more."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        wait_until(lambda: not self._group())

    def _group(self) -> set[int]:
        """The running processes of its group. Those that have ended may stay until their new parent looks at them.

        A killed process whose first thread has ended is a zombie, too, while another thread still writes to a file.
        """
        found = set()
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):  # it has ended meanwhile
                state, _, group = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:3]
                has_ended = state in "ZX" and len(os.listdir(f"/proc/{entry}/task")) < 2
                if int(group) == self.process.pid and not has_ended:
                    found.add(int(entry))
        return found

    def stop(self, number=signal.SIGTERM, timeout: float = 30) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)


class ServedWithKnownHeads(Served):
    """A server that has seen the head of each request before, so that it takes simple ones without parsing them."""

    def request(self, method, path, body=None, headers=None, *, chunked=False) -> Reply:
        if method == "POST" and not chunked:
            super().request(method, path, b"{}", headers)
        return super().request(method, path, body, headers, chunked=chunked)


@contextmanager
def run_server(command, log: Path, *, cwd=None, kind=Served, **environment) -> Iterator[Served]:
    """Start a command that serves at STEADYBIT_EXTENSION_PORT, and end it with all its processes."""
    port, health_port = free_port(), free_port()
    command = [part.replace("{port}", str(port)) for part in command]
    # A loaded machine would leave a worker of lower priority nothing.
    niceness = {"EXTENSION_WORKER_NICENESS": "0"} if "serve" in command else {}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("STEADYBIT_", "EXTENSION_"))}
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=cwd or APPS,
            env={
                **inherited,
                **niceness,
                "STEADYBIT_EXTENSION_PORT": str(port),
                "STEADYBIT_EXTENSION_HEALTH_PORT": str(health_port),
                "PYTHONPATH": str(APPS),
                "EXTENSION_DATABASE_URL": f"sqlite:///{log}.db",
                **{name: str(value) for name, value in environment.items()},
            },
            start_new_session=True,
        )
    try:
        yield kind(process, port, health_port, log)
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


class Restarted:
    """A server of which nothing is left after each kill, and that can be started again.

    Args:
        serve: starts it.
    """

    def __init__(self, serve: Callable[[], AbstractContextManager[Served]]):
        self._serve = serve
        self._stack = ExitStack()
        self.server: Served
        self.start()

    def start(self) -> None:
        self.server = self._stack.enter_context(self._serve())

    def connect(self) -> http.client.HTTPConnection:
        return self.server.connect()

    def kill(self) -> None:
        self.server.kill_all()
        self._stack.close()

    def close(self) -> None:
        self._stack.close()


def listens(served: Served) -> bool:
    if served.process.poll() is not None:
        raise AssertionError(f"the server ended with {served.process.returncode}:\n{served.log}")
    try:
        return served.request("GET", "/health/liveness").status == 200
    except OSError:
        return False


def ready(server):
    def is_ready():
        assert server.process.poll() is None, server.log
        return server.health("readiness") == 200

    wait_until(is_ready)
    return server


SERVE = [KIT, "serve"]
GUNICORN = [
    str(BIN / "gunicorn"), "--bind", "127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "8",
    "--no-control-socket",
]  # fmt: skip
EDGES = {
    "asgi": [*SERVE, "{target}.py"],
    "known heads": [*SERVE, "{target}.py"],
    "flask": [*GUNICORN, "extension_kit.wsgi:create_app('{target}.py')"],
    "flask with hooks": [*GUNICORN, "hooked:create_app('{target}.py')"],
}
"""Ways into an extension. The one called ``flask`` answers events without Flask, as it has no hooks."""


@contextmanager
def serve_app(target: str, log: Path, *, edge: str = "asgi", **environment) -> Iterator[Served]:
    """Serve one of the extensions in tests/apps through an edge and wait until it takes requests."""
    command = [part.replace("{target}", target) for part in EDGES[edge]]
    kind = ServedWithKnownHeads if edge == "known heads" else Served
    with run_server(command, log, kind=kind, **environment) as served:
        wait_until(lambda: listens(served))
        if not edge.startswith("flask"):
            wait_until(lambda: served.health("readiness") == 200)
        yield served
