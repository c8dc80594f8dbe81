"""What it costs to import the kit and to keep a server with one listener running."""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from statistics import median

from benchmarks import processes
from benchmarks.measure import generator
from benchmarks.report import Report, Settings
from benchmarks.servers import ROOT, gunicorn, kit, running

_STATEMENTS = {
    "nothing": "pass",
    "flask": "import flask",
    "extension_kit": "import extension_kit",
    "what extension-kit serve needs": "import extension_kit.cli, extension_kit.server.serve, extension_kit.server.asgi",
}
_HEAVY = (
    "sqlalchemy",
    "psycopg",
    "alembic",
    "pydantic",
    "kombu",
    "requests",
    "pytest",
    "hypothesis",
)
"""What an extension with immediate listeners only must not import, directly or not."""

_CHILD = """
import sys, time
before = set(sys.modules)
began = time.process_time()
{statement}
took = time.process_time() - began
with open("/proc/self/status") as status:
    rss = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
import json
print(json.dumps([took * 1000, rss / 1024, len(sys.modules) - len(before), sorted({heavy!r} & sys.modules.keys())]))
"""


def run(settings: Settings) -> list[Report]:
    """Measure imports and servers."""
    return [_imports(settings), _packages(settings), _servers(settings)]


def _imports(settings: Settings) -> Report:
    rounds = 3 if settings.quick else 15
    samples: dict[str, list[tuple[float, float, int, list[str]]]] = {name: [] for name in _STATEMENTS}
    with settings.progress("startup", rounds) as begin:
        for number in range(rounds):
            begin(f"imports, round {number + 1}")
            for name, statement in _STATEMENTS.items():
                script = _CHILD.format(statement=statement, heavy=set(_HEAVY))
                samples[name].append(json.loads(_python("-c", script).stdout))
    rows = [
        [
            f"import {name}",
            f"{median(each[0] for each in found):.0f}",
            f"{median(each[1] for each in found):.1f}",
            str(found[0][2]),
            ", ".join(found[0][3]) or "none",
        ]
        for name, found in samples.items()
    ]
    return Report(
        f"Importing, in a fresh process, median of {rounds}",
        ["", "ms of CPU", "RSS MiB", "modules", "heavy ones"],
        rows,
        [f"heavy, and not to be imported by a server with immediate listeners: {', '.join(_HEAVY)}"],
        [{"import": name, "ms_rss_modules_heavy": found} for name, found in samples.items()],
    )


def _packages(settings: Settings) -> Report:
    """Which packages the time of ``import extension_kit`` goes to, by ``-X importtime``."""
    rounds = 1 if settings.quick else 5
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        spent: Counter[str] = Counter()
        lines = _python("-X", "importtime", "-c", _STATEMENTS["extension_kit"]).stderr
        for microseconds, package in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w-]+)", lines):
            spent["the standard library" if package in sys.stdlib_module_names else package] += int(microseconds)
        for package, microseconds in spent.items():
            found.setdefault(package, []).append(microseconds / 1000)
    costly = sorted(found.items(), key=lambda each: -median(each[1]))[:12]
    return Report(
        "import extension_kit, package by package (with the interpreter's own imports, and slowed down by looking)",
        ["package", "ms"],
        [[package, f"{median(spent):.1f}"] for package, spent in costly],
        (),
        [{"package": package, "ms": spent} for package, spent in found.items()],
    )


def _servers(settings: Settings) -> Report:
    servers = [
        server
        for workers in (1, 2)
        for server in (
            kit(f"extension-kit serve, {workers} process{'es' * (workers > 1)}", "kit", workers=workers),
            gunicorn(
                f"gunicorn, Flask, {workers} process{'es' * (workers > 1)}",
                "benchmarks.apps.flask_view:app",
                workers=workers,
            ),
        )
    ]
    rows, samples = [], []
    with settings.progress("startup", len(servers)) as begin:
        for server in servers:
            begin(server.name)
            with running(server) as started:
                with generator(started, connections=8, warm_up=0.1, seconds=1.0) as ended:
                    load = ended()
                pids = processes.tree(started.pid)
                rss, pss = processes.memory_mib(pids)
            rows.append([server.name, str(len(pids)), f"{rss:.0f}", f"{pss:.0f}"])
            samples.append({"server": server.name, "rss_mib": rss, "pss_mib": pss, "load": asdict(load)})
    return Report(
        "A server with one listener, after some thousand events",
        ["", "processes, with gunicorn's own", "RSS MiB, summed", "PSS MiB"],
        rows,
        ["goal: 2 processes in <= 140 MiB RSS, <= 100 MiB PSS"],
        samples,
    )


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
