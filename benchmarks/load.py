"""The load generator: N connections that send an event, wait for the answer, and send the next one.

It runs in a process of its own (``python -m benchmarks.load``), so that its work is not counted as the server's, and it
measures its own CPU time, so that a result it limited itself can be told.
"""

import json
import select
import socket
import sys
import time
from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import count
from uuid import uuid4

ID = "00000000-0000-4000-8000-000000000000"
"""The event id in a body, replaced in each request: servers may answer a repeated event without doing the work."""

RUN = 900_000_000
"""The execution id in a body, replaced, too: each connection is an agent with one run after another."""

DUE, TIME = 1_700_000_000_001, 1_700_000_000_002
"""Milliseconds in a body, replaced, too: the events of a run come in pairs, each a minute after the pair before it.

Both of a pair have the time at which it was due, and each has a time of its own.
"""

EVENTS_OF_A_RUN = 20

_PAIR_EVERY, _PAIR_LASTS = 60_000, 2_000  # milliseconds
_PATIENCE = 10.0  # seconds without any answer after which a server is taken for dead


@dataclass(frozen=True)
class Request:
    """What to send, and where to.

    Args:
        port: on 127.0.0.1.
        path: of the URL.
        body: contains ``ID`` once, and may contain ``RUN``, ``DUE`` and ``TIME``.
        headers: beyond Host, Content-Type and Content-Length.
        second: another body, for every second event of a run; empty: they are all alike.
    """

    port: int
    path: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    second: str = ""

    def __post_init__(self) -> None:
        if {body.count(ID) for body in (self.body, self.second or self.body)} != {1}:
            raise ValueError(f"the body must contain the id {ID} once")

    def templates(self) -> tuple[bytes, bytes]:
        """The bytes of both events of a pair, to be formatted with the numbers of the event and of its run."""
        ours = str(uuid4())[:-12]  # so that no two generators send the same id
        return self._template(self.body, ours), self._template(self.second or self.body, ours)

    def _template(self, body: str, ours: str) -> bytes:
        headers = {
            "Host": f"127.0.0.1:{self.port}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body.encode())),
            **self.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        text = f"POST {self.path} HTTP/1.1\r\n{head}\r\n{body}".replace("%", "%%")
        for value, name in ((RUN, "run"), (DUE, "due"), (TIME, "time")):
            text = text.replace(str(value), f"%({name})d")
        return text.replace(ID, f"{ours}%(event)012d").encode()


@dataclass(frozen=True)
class Load:
    """What was measured. Times are in seconds where the name does not say otherwise."""

    seconds: float
    requests: int
    refused: dict[str, int]  # answers beyond 2xx, by status
    reconnects: int
    p50_ms: float
    p99_ms: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of the generator's own CPU time for each request."""
        return self.cpu_seconds / max(1, self.requests) * 1e6


class _Connection:
    """A socket, what has come of the answer so far, when the request was sent, and which run it is of."""

    __slots__ = ("received", "run", "sent_at", "socket", "to_come")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.sent_at = 0.0
        self.run = 0
        self.to_come = 0  # of the run


class Generator:
    """Keeps ``connections`` requests under way all the time."""

    def __init__(self, request: Request, connections: int) -> None:
        self._port = request.port
        self._templates = request.templates()
        self._numbers = count(1)
        self._runs = count(RUN)
        self._poll = select.epoll()
        self._open: dict[int, _Connection] = {}
        self._reset()
        for _ in range(connections):
            self._connect()

    def _reset(self) -> None:
        self._latencies = array("d")
        self._statuses: Counter[int] = Counter()
        self._reconnects = 0

    def _connect(self) -> None:
        connection = _Connection(self._port)
        self._open[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN)
        self._send(connection)

    def _send(self, connection: _Connection) -> None:
        if not connection.to_come:
            connection.run, connection.to_come = next(self._runs), EVENTS_OF_A_RUN
        pair, second = divmod(EVENTS_OF_A_RUN - connection.to_come, 2)
        connection.to_come -= 1
        due = DUE + pair * _PAIR_EVERY
        numbers = {b"due": due, b"time": due + second * _PAIR_LASTS, b"run": connection.run}
        data = self._templates[second] % {b"event": next(self._numbers), **numbers}
        connection.sent_at = time.perf_counter()
        # A request fits into the socket's buffer, and none is sent before the one ahead of it is answered.
        connection.socket.sendall(data)

    def run(self, seconds: float) -> Load:
        """Send for that long, and tell about the answers that came in that time."""
        self._reset()
        cpu = time.process_time()
        began = now = time.perf_counter()
        end = began + seconds
        while now < end:
            ready = self._poll.poll(_PATIENCE)
            if not ready:
                raise TimeoutError(f"no answer for {_PATIENCE:g} seconds")
            for number, _ in ready:
                self._read(self._open[number])
            now = time.perf_counter()
        latencies = sorted(self._latencies)
        return Load(
            seconds=now - began,
            requests=len(latencies),
            refused={str(status): count for status, count in self._statuses.items() if not 200 <= status < 300},
            reconnects=self._reconnects,
            p50_ms=percentile(latencies, 50) * 1000,
            p99_ms=percentile(latencies, 99) * 1000,
            cpu_seconds=time.process_time() - cpu,
        )

    def close(self) -> None:
        for connection in self._open.values():
            connection.socket.close()
        self._poll.close()

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._reconnect(connection)
            return
        answer = connection.received + data if connection.received else data
        status = answered(answer)
        if status is None:
            connection.received = answer
            return
        connection.received = b""
        self._latencies.append(time.perf_counter() - connection.sent_at)
        self._statuses[status] += 1
        self._send(connection)

    def _reconnect(self, connection: _Connection) -> None:
        self._reconnects += 1
        del self._open[connection.socket.fileno()]
        connection.socket.close()
        self._connect()


def answered(data: bytes) -> int | None:
    """Return the status of a complete answer; None where more of it is to come.

    Raises:
        ValueError: it is none, or does not say its length.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0 or not head.startswith(b"http/1.1 "):
        raise ValueError(f"not an answer with Content-Length: {data[:200]!r}")
    length = int(head[at + 17 :].split(b"\r\n", 1)[0])
    missing = end + 4 + length - len(data)
    if missing < 0:
        raise ValueError(f"{-missing} bytes more than the answer has: {data[:200]!r}")
    return None if missing else int(head[9:12])


def percentile(ascending: list[float], percent: float) -> float:
    """The smallest value that is not exceeded by ``percent`` of the values; NaN where there are none."""
    if not ascending:
        return float("nan")
    return ascending[max(0, -(-len(ascending) * percent // 100).__int__() - 1)]


def main() -> None:
    """Do what the argument says; write a line when measuring begins, and the result when it has ended."""
    task = json.loads(sys.argv[1])
    generator = Generator(Request(**task["request"]), task["connections"])
    generator.run(task["warm_up"])
    print("measuring", flush=True)
    load = generator.run(task["seconds"])
    print(json.dumps(asdict(load)), flush=True)
    generator.close()


if __name__ == "__main__":
    main()
