"""One server under load: how many requests, how fast, and what that cost in CPU time and memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from benchmarks import events, processes
from benchmarks.load import Load
from benchmarks.servers import ROOT, Running, Server, ServerError, running

CONNECTIONS = 32

_TRIES = 4
_MOST_UNEVEN = 0.68


@dataclass(frozen=True)
class Sample:
    """What one round found out about one server."""

    server: str
    load: Load
    server_cpu_us: float  # for each request, all processes together, with those of helpers
    helpers_cpu_us: float  # of that
    rss_mib: float
    pss_mib: float
    foreign_cores: float  # what other processes used
    busiest: float  # the share of the CPU time of the processes that answer requests that is the busiest one's
    workers: int  # that answer requests
    observed: dict[str, float]

    @property
    def doubt(self) -> float:
        """How much is wrong with it: 0 for a sample that can be taken as it is."""
        uneven = max(0.0, self.busiest - _MOST_UNEVEN) if self.workers > 1 else 0.0
        return uneven + max(0.0, self.foreign_cores - processes.NOISE)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@contextmanager
def generator(
    started: Running, *, connections: int, warm_up: float, seconds: float, path: str | None = None
) -> Iterator[Callable[[], Load]]:
    """Put load on a server: measuring has begun when the block is entered, and has ended when the function returns.

    Raises:
        ServerError: the server stopped answering.
    """
    request = started.server.request(started.port, events.encoded(events.small()))
    task = {
        "request": asdict(request) | ({"path": path} if path else {}),
        "connections": connections,
        "warm_up": warm_up,
        "seconds": seconds,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load", json.dumps(task)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def line() -> str:
        assert process.stdout
        assert process.stderr
        if text := process.stdout.readline():
            return text
        raise ServerError(f"{started.server.name} under load: {process.stderr.read()[-1000:]}")

    with process:
        try:
            line()
            yield lambda: Load(**json.loads(line()))
        finally:
            process.kill()


def sample(
    server: Server,
    seconds: float,
    warm_up: float,
    patient_until: float,
    observe: Callable[[Running], dict[str, float]] = lambda _: {},
) -> Sample:
    """Start a server, check it and measure it.

    A round in which somebody else used the machine, or in which most connections happened to land at one of the
    server's processes, is repeated a few times; the best try counts.

    Args:
        server: what to measure.
        seconds: for how long.
        warm_up: seconds of load before that.
        patient_until: when to stop waiting for a quiet moment and repeating, by ``time.monotonic()``.
        observe: what else is asked of it afterwards.

    Raises:
        ServerError: the server does not start, or does not answer as it should.
    """
    tries: list[Sample] = []
    while len(tries) < _TRIES:
        processes.wait_for_quiet(min(30.0, patient_until - time.monotonic()))
        tries.append(_sample(server, seconds, warm_up, observe))
        if tries[-1].doubt == 0 or time.monotonic() > patient_until:
            break
    return min(tries, key=lambda each: each.doubt)


def _sample(server: Server, seconds: float, warm_up: float, observe: Callable[[Running], dict[str, float]]) -> Sample:
    with running(server) as started:
        started.check()
        with generator(started, connections=CONNECTIONS, warm_up=warm_up, seconds=seconds) as ended:
            pids = processes.tree(started.pid)
            helpers = [pid for helper in server.helpers for pid in processes.tree(helper)]
            before = processes.everybody()
            load = ended()
            used = {pid: after - before.get(pid, 0.0) for pid, after in processes.everybody().items()}
            ours = {*processes.tree(os.getpid()), *helpers}
        total = sum(used.get(pid, 0.0) for pid in (*pids, *helpers))
        if load.refused:
            raise ServerError(f"{server.name} refused events under load: {load.refused}")
        rss, pss = processes.memory_mib(pids)
        command = processes.command(started.pid)
        answering = [used[pid] for pid in pids[1:] if pid in used and processes.command(pid) == command]  # forks
        return Sample(
            server=server.name,
            load=load,
            server_cpu_us=total / max(1, load.requests) * 1e6,
            helpers_cpu_us=sum(used.get(pid, 0.0) for pid in helpers) / max(1, load.requests) * 1e6,
            rss_mib=rss,
            pss_mib=pss,
            foreign_cores=sum(seconds for pid, seconds in used.items() if pid not in ours) / load.seconds,
            busiest=max(answering) / sum(answering) if sum(answering) else 0.0,
            workers=len(answering),
            observed=observe(started),
        )
