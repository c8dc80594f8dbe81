"""Terminal output: shows the progress and the report of an agent; plain lines if there is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from extension_kit.agent.report import Report, Tally
from extension_kit.observability.printable import printable

_WIDTH = 140
"""Characters of a line without a terminal, which would give its width."""


@contextmanager
def progress(report: Report, unit: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show an agent's progress on stderr, as long as the context is open.

    Args:
        report: the agent's report, read meanwhile.
        unit: the unit of progress, in the plural.
        total: the number of units, if it is known.

    Yields:
        A function to call after each unit.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _PlainLines(report)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(unit, total=total)
        yield lambda: bar.update(task, advance=1, description=f"{unit} ({_summary(report)})")


class _PlainLines:
    """Writes one line for each ended interval."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told = 1

    def __call__(self) -> None:
        if self._report.intervals > self._told:
            self._told = self._report.intervals
            click.echo(_summary(self._report), err=True)


def show(report: Report, fresh_ids: bool = False) -> None:
    """Write a report to stdout; ``fresh_ids`` tells if the events had new ids, so that no hint about ids is given."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDTH
    if report.tallies:
        console.print(_table(report.tallies))
    console.print(f"{_summary(report)}, events without a listener: {report.unwanted}")
    if report.known and not fresh_ids:
        console.print("Known events were not run again: --fresh-ids sends them with new ids.")
    for problem in report.problems:
        console.print(printable(f"problem: {problem}"), soft_wrap=True)
    for name, event_id, endpoint, outcome, reason in report.refusals:
        console.print(printable(f"{outcome}: {name} {event_id} to {endpoint}: {reason}"), soft_wrap=True)


def _summary(report: Report) -> str:
    return f"events: {report.events}, requests: {report.sent}, refused: {report.sent - report.accepted}"


def _table(tallies: dict[str, Tally]) -> Table:
    table = Table("event listener", box=box.SIMPLE_HEAD)
    for heading in ("sent", "accepted", "known already", "refused", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    for endpoint, tally in sorted(tallies.items()):
        refused = ", ".join(f"{outcome}: {count}" for outcome, count in sorted(tally.refused.items()))
        table.add_row(
            Text(printable(endpoint), overflow="fold"),
            str(tally.sent),
            str(tally.accepted),
            str(tally.known) if tally.known else "-",
            refused or "-",
            _milliseconds(tally.percentile(50)),
            _milliseconds(tally.percentile(99)),
        )
    return table


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"
