"""How fast an event is received: ``extension-kit serve`` against what a user would write with other frameworks.

In each round every server is started anew, checked, warmed up and measured, one after the other, so that whatever slows
the machine down for a while slows all of them down. Ratios are taken within a round; the median of the rounds counts.
"""

import time
from statistics import median

from benchmarks.environment import peers_python
from benchmarks.measure import CONNECTIONS, Sample, sample
from benchmarks.report import Report, Settings, times
from benchmarks.servers import Server, go_server, gunicorn, kit

_WORKERS = 2
_PATIENCE = 480.0  # seconds, of which a quiet machine needs half: the rest is for repeating what others disturbed
_KIT = "extension-kit serve"
_GOALS = {
    "Flask, get_json()": 6.0,
    "flask-smorest": 18.0,
    "functions-framework, CloudEvent": 9.0,
    "Litestar + msgspec": 2.0,
    "Go net/http": 1.0,
}
"""How many times less CPU time the kit is to need."""
_WSGI = "the kit under plain WSGI"
_WSGI_GOAL = "Flask, get_json()"
_WSGI_LEAST = 1.2


def run(settings: Settings) -> list[Report]:
    """Measure all servers, interleaved."""
    rounds, seconds, warm_up = (1, 1.0, 0.3) if settings.quick else (5, 3.0, 1.0)
    with settings.progress("receive", 1) as begin:
        begin("installing the peers")
        servers = _servers(peers_python())
    samples: list[list[Sample]] = []
    patient_until = time.monotonic() + (0 if settings.quick else _PATIENCE)
    with settings.progress("receive", rounds * len(servers)) as begin:
        for number in range(rounds):
            samples.append([])
            for server in servers:
                begin(f"round {number + 1}, {server.name}")
                samples[-1].append(sample(server, seconds, warm_up, patient_until))
    return [_report(servers, samples, seconds)]


def _servers(python: str) -> list[Server]:
    def peer(name: str, application: str, **options: object) -> Server:
        return gunicorn(name, f"benchmarks.apps.{application}", workers=_WORKERS, python=python, **options)  # type: ignore[arg-type]

    servers = [
        kit(_KIT, "kit", workers=_WORKERS),
        kit(f"{_KIT}, with access log", "kit", workers=_WORKERS, log_level="info"),
        gunicorn(_WSGI, "extension_kit.wsgi:create_app('benchmarks/apps/kit.py')", workers=_WORKERS),
        peer("Flask, get_json()", "flask_view:app", validates=False, note="checks nothing"),
        peer("Flask + marshmallow", "flask_marshmallow:app", note="memory with the kit, for its schemas"),
        peer("flask-smorest", "smorest:app", note="memory with the kit, for its schemas"),
        peer(
            "functions-framework, CloudEvent",
            "cloudevent:create_app()",
            path="/",
            headers={"ce-id": "1", "ce-source": "/benchmark", "ce-type": "event", "ce-specversion": "1.0"},
            validates=False,
            note="checks the CloudEvent's headers only",
        ),
        peer("FastAPI, def", "fastapi_def:app", asgi=True),
        peer("Litestar + msgspec", "litestar_msgspec:app", asgi=True, note="its function runs on the event loop"),
    ]
    go = go_server(python, "Go net/http")
    return [*servers, go] if go else servers


def _report(servers: list[Server], rounds: list[list[Sample]], seconds: float) -> Report:
    rows = []
    for position, server in enumerate(servers):
        samples = [each[position] for each in rounds]
        rates = [each.load.per_second for each in samples]
        faster = median(each[0].load.per_second / each[position].load.per_second for each in rounds)
        cheaper = median(each[position].server_cpu_us / each[0].server_cpu_us for each in rounds)
        goal = _GOALS.get(server.name)
        rows.append(
            [
                server.name,
                f"{median(rates):,.0f}",
                f"{min(rates) / 1000:.1f} - {max(rates) / 1000:.1f}",
                f"{median(each.server_cpu_us for each in samples):.0f}",
                f"{median(each.load.p50_ms for each in samples):.2f}",
                f"{median(each.load.p99_ms for each in samples):.1f}",
                f"{median(each.rss_mib for each in samples):.0f} / {median(each.pss_mib for each in samples):.0f}",
                times(faster) if position else "",
                times(cheaper) if position else "",
                f">= {goal:g} x" if goal else "",
            ]
        )
    every = [each for samples in rounds for each in samples]
    by_name = {server.name: position for position, server in enumerate(servers)}
    wsgi = median(each[by_name[_WSGI]].load.per_second / each[by_name[_WSGI_GOAL]].load.per_second for each in rounds)
    notes = [
        f"{_WSGI} handles {times(wsgi)} the requests of {_WSGI_GOAL} (goal: >= {_WSGI_LEAST:g} x, while validating)",
        *(f"{server.name}: {server.note}" for server in servers if server.note),
        f"generator: {median(each.load.cpu_us for each in every):.1f} us of CPU time a request, "
        f"{max(each.load.cpu_seconds / each.load.seconds for each in every):.2f} of its one core at most",
        f"rounds in doubt (others used the machine, or connections were spread unevenly): "
        f"{sum(each.doubt > 0 for each in every)} of {len(every)}",
    ]
    return Report(
        f"Receiving an event of 0.8 KB: {_WORKERS} processes, {CONNECTIONS} connections kept alive, "
        f"{len(rounds)} interleaved rounds of {seconds:g} s",
        [
            "server",
            "req/s",
            "range, k/s",
            "CPU us/req",
            "p50 ms",
            "p99 ms",
            "RSS / PSS MiB",
            "kit's req/s",
            "kit's CPU",
            "goal, CPU",
        ],
        rows,
        notes,
        [{"round": number, **each.as_dict()} for number, samples in enumerate(rounds) for each in samples],
    )
