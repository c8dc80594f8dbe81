"""How long it takes until a durable function starts, from when its event is sent, on a machine that does nothing else.

One event is under way at a time. All servers run all the time, and are sent to in turn: each has been idle for seconds
when its next event comes, as a server is that has nothing to do.
"""

import http.client
import random
import socket
import struct
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from benchmarks import events
from benchmarks.load import ID, percentile
from benchmarks.report import Report, Settings
from benchmarks.servers import Running, Server, ServerError, app_file, gunicorn, kit, running
from benchmarks.stores import WITHOUT_POSTGRESQL, stores

_PATIENCE = 10.0  # seconds for an event
_GOAL = 20.0  # milliseconds, p50


@dataclass
class _Case:
    """A server, and what was measured. Times are in seconds."""

    server: Server
    answered: list[float] = field(default_factory=list)
    started: list[float] = field(default_factory=list)

    def measure(self, target: Running, told: socket.socket) -> None:
        """Send one event, and wait until its function has started."""
        number = f"{random.getrandbits(48):012d}"[-12:]
        body = events.encoded(events.small()).replace(ID, ID[:-12] + number)
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=_PATIENCE)
        try:
            connection.connect()
            began = time.monotonic()
            connection.request("POST", "/events", body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
            answered = time.monotonic() - began
        finally:
            connection.close()
        if status != 200:
            raise ServerError(f"{self.server.name} answers {status} to an event")
        try:
            (started,) = struct.unpack("d", told.recv(8))
        except TimeoutError:
            raise ServerError(f"{self.server.name}: the function did not start in {_PATIENCE:g} s") from None
        self.answered.append(answered)
        self.started.append(started - began)


def run(settings: Settings) -> list[Report]:
    """Start all servers, and send to them in turn."""
    rounds, pause = (3, 0.1) if settings.quick else (100, 0.6)
    with ExitStack() as stack:
        found = stack.enter_context(stores())
        told = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        told.bind(("127.0.0.1", 0))
        told.settimeout(_PATIENCE)
        cases = []
        for store in found:
            for server in _servers(store.name):
                environment = {
                    **server.environment,
                    "TOLD_PORT": str(told.getsockname()[1]),
                    "EXTENSION_DATABASE_URL": stack.enter_context(store.database()),
                }
                case = _Case(replace(server, environment=environment))
                cases.append((case, stack.enter_context(running(case.server))))
        with settings.progress("latency", (rounds + 1) * len(cases)) as begin:
            for number in range(rounds + 1):
                for case, target in cases:
                    begin(f"round {number}, {case.server.name}")
                    time.sleep(pause * random.uniform(0.9, 1.1))  # not in step with whoever looks at intervals
                    case.measure(target, told)
                    if number == 0:  # imports, connections, and the first of everything
                        case.answered.clear()
                        case.started.clear()
    notes = [WITHOUT_POSTGRESQL] if len(found) < 2 else []
    return [_report([case for case, _ in cases], pause * len(cases), notes)]


def _servers(store: str) -> list[Server]:
    application = f"extension_kit.wsgi:create_app({app_file('kit_started')!r})"
    return [
        kit(f"extension-kit serve, {store}", "kit_started", workers=1),
        gunicorn(f"gunicorn with the embedded worker, {store}", application, workers=1),
    ]


def _report(cases: list[_Case], idle: float, notes: list[str]) -> Report:
    rows = []
    for case in cases:
        started, answered = sorted(case.started), sorted(case.answered)
        rows.append(
            [
                case.server.name,
                f"{percentile(answered, 50) * 1000:.1f}",
                f"{percentile(answered, 99) * 1000:.1f}",
                f"{percentile(started, 50) * 1000:.1f}",
                f"{percentile(started, 99) * 1000:.1f}",
                f"{started[-1] * 1000:.1f}",
                f"< {_GOAL:g} ms",
            ]
        )
    return Report(
        f"From an event being sent until its durable function starts: {len(cases[0].started)} events one at a time, "
        f"each to a server that has been idle for {idle:.1f} s",
        ["ms", "answer, p50", "answer, p99", "start, p50", "start, p99", "longest", "goal, start, p50"],
        rows,
        ["the answer comes when the event has been committed; the connection is there before", *notes],
        [
            {"server": case.server.name, "answered_seconds": case.answered, "started_seconds": case.started}
            for case in cases
        ],
    )
