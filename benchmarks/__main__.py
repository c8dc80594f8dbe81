"""``python -m benchmarks [NAME...] [--quick] [--plans] [--json FILE]``."""

import json
import shlex
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import click
from rich.console import Console

from benchmarks.environment import machine, versions
from benchmarks.processes import wait_for_quiet
from benchmarks.report import Report, Settings
from benchmarks.servers import ROOT, ServerError

_EXTENSIONS = sorted(path.parent.name for path in (ROOT / "extensions").glob("*/__init__.py"))

NAMES = (
    "receive",
    "matching",
    "validation",
    "startup",
    "blocking",
    "durable",
    "backlog",
    "deliver",
    "latency",
    "watched",
    "event_log",
    *(name for name in _EXTENSIONS if Path(__file__).with_name(f"{name}.py").exists()),
)
"""The measurements: those of the kit, and those that are called like an extension."""


@click.command()
@click.argument("names", nargs=-1, metavar="[" + "|".join(NAMES) + "]...", type=click.Choice(NAMES))
@click.option("--quick", is_flag=True, help="Only see that everything works: about a minute, figures not to be quoted.")
@click.option("--plans", is_flag=True, help="Show the plans of the queries of event_log.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write every sample to FILE.")
def main(names: tuple[str, ...], quick: bool, plans: bool, file: Path | None) -> None:
    """Measure how fast the kit is, as ratios to what else a user could take. Without a name, everything."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    console = Console(width=None if sys.stdout.isatty() else 160)
    settings = Settings(quick, Console(stderr=True), plans)
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    console.print(f"{command}\n{machine()}\n{', '.join(map(' '.join, versions().items()))}\n", highlight=False)
    results: dict[str, list[Report]] = {}
    for name in names or NAMES:
        run: Callable[[Settings], list[Report]] = import_module(f"benchmarks.{name}").run
        if not wait_for_quiet():
            console.print("Something else uses this machine: do not quote what follows.", style="bold")
        began = time.monotonic()
        try:
            results[name] = run(settings)
        except ServerError as error:
            raise click.ClickException(str(error)) from None
        for report in results[name]:
            report.print(console)
        console.print(f"{name}: {time.monotonic() - began:.0f} s\n", highlight=False)
    if file:
        content = {
            "command": command,
            "machine": machine(),
            "versions": versions(),
            "quick": quick,
            "reports": {name: [asdict(report) for report in reports] for name, reports in results.items()},
        }
        file.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
