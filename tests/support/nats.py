"""A NATS server of a test's own, with JetStream, which it may kill, freeze and start again."""

import asyncio
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import nats
import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from tests.support.leftovers import own_directory
from tests.support.paths import BIN
from tests.support.servers import free_port
from tests.support.waiting import wait_until

T = TypeVar("T")


def _program() -> str:
    """Where the server is: from pip, else on the machine."""
    program = shutil.which("nats-server", path=str(BIN)) or shutil.which("nats-server")
    if program is None:
        pytest.skip("no nats-server from pip, and none on this machine")
    return program


class NatsServer:
    """A server in a directory of its own, listening at a port of its own.

    Args:
        more: further configuration.
    """

    def __init__(self, more: str = "", user: str = "", password: str = "") -> None:
        self._program = _program()
        self._directory = Path(tempfile.mkdtemp(prefix="nats", dir=own_directory()))
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._login: dict[str, Any] = {"user": user, "password": password} if user else {}
        (self._directory / "nats.conf").write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{self._directory / "store"}" }}\n{more}\n'
        )
        self._process: subprocess.Popen | None = None

    @property
    def log(self) -> str:
        return (self._directory / "log").read_text()

    def start(self) -> "NatsServer":
        """Start it, and wait until it answers."""
        with (self._directory / "log").open("a") as log:
            command = [self._program, "-c", str(self._directory / "nats.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._answers)
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                return connection.recv(4) == b"INFO"
        except OSError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it: in good order, or with SIGKILL as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it take connections and bytes, and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        state = Path(f"/proc/{self._process.pid}/stat")
        wait_until(lambda: not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "Tt")
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self._directory)

    def ask(self, question: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        """Ask a question on a connection of its own, and return the answer."""

        async def ask() -> T:
            client = await nats.connect(self.url, allow_reconnect=False, **self._login)
            try:
                return await question(client.jetstream(timeout=20))
            finally:
                await client.close()

        return asyncio.run(ask())

    def add_stream(self, name: str, *subjects: str, **config: Any) -> None:
        """Add a stream that takes some subjects."""
        self.ask(lambda jetstream: jetstream.add_stream(name=name, subjects=list(subjects), **config))

    def publish(self, *messages: tuple[str, bytes, dict[str, str] | None]) -> None:
        """Publish messages, each a subject, a body and headers, and wait until streams have stored them."""

        async def publish(jetstream: JetStreamContext) -> None:
            for subject, body, headers in messages:
                await jetstream.publish(subject, body, headers=headers)

        self.ask(publish)

    def publish_raw(self, subject: bytes, headers: bytes, body: bytes) -> None:
        """Publish a message with whatever bytes as its subject and headers; clients would refuse some."""
        head = b"NATS/1.0" + headers + b"\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n')
            connection.sendall(b"HPUB %s %d %d\r\n%s%s\r\n" % (subject, len(head), len(head + body), head, body))
            connection.sendall(b"PING\r\n")
            said = b""
            while b"PONG" not in said:
                got = connection.recv(65536)
                assert got, said
                said += got

    def stored(self, stream: str) -> list[Msg]:
        """The messages of a stream, in order."""

        async def read(jetstream: JetStreamContext) -> list[Msg]:
            if not (number := (await jetstream.stream_info(stream)).state.messages):
                return []
            consumer = await jetstream.pull_subscribe("", stream=stream, config=api.ConsumerConfig(ack_policy="none"))
            found: list[Msg] = []
            while len(found) < number:
                found += await consumer.fetch(number - len(found), timeout=20)
            return found

        return self.ask(read)

    def consumer(self, stream: str, name: str) -> api.ConsumerInfo:
        """How far a consumer is."""
        return self.ask(lambda jetstream: jetstream.consumer_info(stream, name))


@pytest.fixture
def make_nats() -> Iterator[Callable[..., NatsServer]]:
    """Start servers: ``make_nats()``, or with configuration."""
    servers: list[NatsServer] = []

    def make(*arguments: str) -> NatsServer:
        servers.append(NatsServer(*arguments))
        return servers[-1].start()

    yield make
    for server in servers:
        server.remove()


@pytest.fixture
def nats_server(make_nats: Callable[..., NatsServer]) -> NatsServer:
    """A server without a login."""
    return make_nats()
