"""Tables, and the progress shown until they are there."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table


@dataclass(frozen=True)
class Report:
    """One table.

    Args:
        title: what was measured, and under which conditions.
        columns: their headings; the first one names a row.
        rows: as many cells as there are columns.
        notes: sentences below the table.
        samples: everything measured, for those who want to compute with it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    samples: Sequence[dict[str, object]] = field(default=(), repr=False)

    def print(self, console: Console) -> None:
        table = Table()
        for position, column in enumerate(self.columns):
            table.add_column(column, justify="right" if position else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        console.print(self.title, style="bold", highlight=False)
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}", style="dim", highlight=False)
        console.print()


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Args:
        quick: only see that everything works; the figures are not worth quoting.
        console: for the progress.
        plans: show the plans of queries, where a measurement can.
    """

    quick: bool
    console: Console
    plans: bool = False

    @contextmanager
    def progress(self, title: str, steps: int) -> Iterator[Callable[[str], None]]:
        """Show a bar; the function is to be called at the beginning of each step, with what it is about."""
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        with Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=steps)
            begun = 0

            def begin(what: str) -> None:
                nonlocal begun
                progress.update(task, completed=begun, description=f"{title}: {what}")
                begun += 1

            yield begin


def times(ratio: float) -> str:
    """A ratio as it stands in a table."""
    return f"{ratio:.2f} x" if ratio < 10 else f"{ratio:.1f} x"


def microseconds(value: float) -> str:
    """A time as it stands in a table; small ones are told apart by their digits."""
    return f"{value:,.3f}" if value < 10 else f"{value:,.1f}"
