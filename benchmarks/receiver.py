"""A webhook's receiver: counts what is POSTed to ``/KEY/NUMBER`` until all of it is there, and answers 200.

It runs in a process of its own (``python -m benchmarks.receiver``) and writes three lines: its port when it listens, a
word when the first has come, and JSON of ``Received`` when everything has.
"""

import asyncio
import json
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

from benchmarks.servers import ROOT, ServerError

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Received:
    """What has come.

    ``overtaken`` counts what came after something with the same key and a higher number.
    """

    wanted: int
    seconds: float = 0.0  # from the first to the last
    later_seconds: float = 0.0  # from the middle one to the last
    again: int = 0
    overtaken: int = 0

    @property
    def per_second(self) -> float:
        return (self.wanted - 1) / self.seconds

    @property
    def later_per_second(self) -> float:
        """Of the second half, when all workers run for sure."""
        return (self.wanted - self.wanted // 2) / self.later_seconds


class Ledger:
    """Counts into ``received``."""

    def __init__(self, wanted: int) -> None:
        self.received = Received(wanted)
        self._seen: set[tuple[str, int]] = set()
        self._last: dict[str, int] = {}
        self._began = self._half_at = 0.0

    def add(self, key: str, number: int) -> bool:
        """Count one, and say whether it was the first or the last that had not come yet."""
        received, now = self.received, time.perf_counter()
        if (key, number) in self._seen:
            received.again += 1
            return False
        self._seen.add((key, number))
        if len(self._seen) == 1:
            self._began = now
        last = self._last.get(key, -1)
        received.overtaken += number < last
        self._last[key] = max(number, last)
        received.seconds = now - self._began
        if len(self._seen) == received.wanted // 2:
            self._half_at = now
        received.later_seconds = now - self._half_at
        return len(self._seen) in (1, received.wanted)


Read = Callable[[bytes, bytes], tuple[str, int]]
"""Says of a request, from its head and its body, which key it has and which number."""


class _Connection(asyncio.Protocol):
    def __init__(self, ledger: Ledger, news: asyncio.Event, read: Read) -> None:
        self._ledger = ledger
        self._news = news
        self._read = read
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._data = body[length:]
        if self._ledger.add(*self._read(head, body[:length])):
            self._news.set()
        self._transport.write(_ANSWER)


def _path(head: bytes, body: bytes) -> tuple[str, int]:
    _, key, number = head.split(b" ", 2)[1].decode().split("/")
    return key, int(number)


async def serve(wanted: int, read: Read) -> None:
    """Receive, and tell what has come, until it is ended from outside."""
    ledger, news = Ledger(wanted), asyncio.Event()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(ledger, news, read), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await news.wait()
    news.clear()
    print("first", flush=True)
    await news.wait()
    print(json.dumps(asdict(ledger.received)), flush=True)
    await asyncio.Event().wait()  # for what comes again, and for the last answer; it is ended from outside


@dataclass(frozen=True)
class Receiver:
    """A receiver that runs."""

    port: int
    process: "subprocess.Popen[bytes]"

    def wait_for_first(self, timeout: float) -> None:
        """Wait for the first.

        Raises:
            ServerError: nothing has come within ``timeout`` seconds.
        """
        self._line(timeout)

    def wait_for_all(self, timeout: float) -> Received:
        """Wait for everything.

        Raises:
            ServerError: something has not come within ``timeout`` seconds.
        """
        return Received(**json.loads(self._line(timeout)))

    def _line(self, timeout: float) -> bytes:
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            raise ServerError(f"the receiver has not got everything in {timeout:g} s")
        return self.process.stdout.readline()


@contextmanager
def receiving(wanted: int, module: str = "benchmarks.receiver") -> Iterator[Receiver]:
    """Start a receiver of at least two, which is a module that calls ``serve``; it ends at the end of the block."""
    # Without a buffer here, where what has come would not be seen by those who wait for the pipe.
    command = [sys.executable, "-m", module, str(wanted)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, bufsize=0)
    with process:
        try:
            assert process.stdout
            yield Receiver(int(process.stdout.readline()), process)
        finally:
            process.kill()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), _path))
