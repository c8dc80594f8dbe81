"""A function that blocks for 5 ms, as one does that calls another service: what do threads bring, and who waits?"""

from dataclasses import asdict

from benchmarks.measure import CONNECTIONS, generator
from benchmarks.report import Report, Settings
from benchmarks.servers import Server, gunicorn, kit, running

_THREADS = (1, 4, 16, 64)
_BLOCKED = 0.005


def run(settings: Settings) -> list[Report]:
    """Measure the kit and Flask on gunicorn's threads, one process each."""
    seconds = 1.0 if settings.quick else 5.0
    servers: list[tuple[int, Server]] = []
    for threads in _THREADS[2:] if settings.quick else _THREADS:
        servers.append((threads, kit("extension-kit serve", "kit_blocking", workers=1, threads=threads)))
        flask = gunicorn(
            "gunicorn, Flask", "benchmarks.apps.flask_blocking:app", workers=1, threads=threads, validates=False
        )
        servers.append((threads, flask))
    rows, samples = [], []
    with settings.progress("blocking", len(servers)) as begin:
        for threads, server in servers:
            begin(f"{server.name}, {threads} threads")
            with running(server) as started:
                started.check()
                with generator(started, connections=CONNECTIONS, warm_up=0.5, seconds=seconds + 1) as blocked:
                    with generator(started, connections=1, warm_up=0.2, seconds=seconds, path="/quick") as quick:
                        quick_load = quick()
                    blocked_load = blocked()
            possible = min(threads, CONNECTIONS) / _BLOCKED
            rows.append(
                [
                    server.name,
                    str(threads),
                    f"{blocked_load.per_second:,.0f}",
                    f"{blocked_load.per_second / possible:.0%}",
                    f"{blocked_load.p50_ms:.1f}",
                    f"{blocked_load.p99_ms:.1f}",
                    f"{quick_load.p50_ms:.1f}",
                    f"{quick_load.p99_ms:.1f}",
                ]
            )
            samples.append(
                {
                    "server": server.name,
                    "threads": threads,
                    "blocked": asdict(blocked_load),
                    "quick": asdict(quick_load),
                }
            )
    return [
        Report(
            f"A function that blocks for {_BLOCKED * 1000:g} ms: one process, {CONNECTIONS} connections; meanwhile "
            "another path's quick events over one connection",
            ["", "threads", "req/s", "of possible", "p50 ms", "p99 ms", "quick p50 ms", "quick p99 ms"],
            rows,
            [f"possible: a thread can end {1 / _BLOCKED:.0f} calls a second, and {CONNECTIONS} are under way at most"],
            samples,
        )
    ]
