"""``extension-kit deliveries``: what people see of deliveries, and do with them."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import Row

from extension_kit.deliveries.replay import Filter, count, discard, find, history, rebuild, replay
from extension_kit.engine.app import Engine
from extension_kit.errors import ConfigurationError
from extension_kit.settings import Settings
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade


class DeliveryCommands:
    """The commands, on the database of the settings.

    Args:
        settings: which database.
        console: where to print.
    """

    def __init__(self, settings: Settings, console: Console | None = None) -> None:
        self._database = Database(settings.database_url)
        self._engine = Engine(self._database)
        self._console = console or Console(highlight=False)
        upgrade(self._database, self._engine.create_tables, only_check=True)

    def list(self, wanted: Filter, limit: int) -> None:
        """Print deliveries as a table."""
        with self._database.read() as connection:
            found = find(connection, wanted, limit)
            total = count(connection, wanted)
        table = Table("delivery", "status", "attempts", "event", "id", "listener", "next or last", "error")
        for row in found:
            table.add_row(
                str(row.ref),
                row.status,
                str(row.attempts),
                row.name,
                row.event_id,
                row.listener,
                _time(row.ended_at or row.due_at),
                (row.error or "")[:60],
            )
        self._console.print(table)
        if total > len(found):
            self._console.print(f"{len(found)} of {total}; --limit shows more.")

    def show(self, ref: int) -> None:
        """Print one delivery with its attempts.

        Raises:
            ConfigurationError: there is no such delivery.
        """
        with self._database.read() as connection:
            found = find(connection, Filter(refs=(ref,)), 1)
            made = history(connection, ref)
        if not found:
            raise ConfigurationError(f"there is no delivery {ref}")
        row: Row[Any] = found[0]
        for name in ("ref", "status", "listener", "name", "event_id", "subject", "created_at", "due_at", "ended_at"):
            self._console.print(f"{name + ':':<12} {_time(getattr(row, name))}", markup=False)
        table = Table("attempt", "started", "took", "result", "status", "error")
        for attempt in made:
            took = f"{(attempt.ended_at - attempt.started_at).total_seconds():.3f} s" if attempt.ended_at else ""
            table.add_row(
                str(attempt.number),
                _time(attempt.started_at),
                took,
                attempt.result or "in progress",
                _time(attempt.status),
                attempt.error or "",
            )
        self._console.print(table)

    def replay(self, wanted: Filter) -> None:
        """Try dead letters again."""
        self._change("Replayed", wanted, lambda meant: replay(self._database, self._engine, meant))

    def discard(self, wanted: Filter) -> None:
        """Throw dead letters away."""
        self._change("Discarded", wanted, lambda meant: discard(self._database, meant))

    def rebuild(self) -> None:
        """Fill the engine's queue anew from the tables."""
        self._console.print(f"{rebuild(self._database, self._engine)} deliveries wait.")

    def _change(self, done: str, wanted: Filter, change: Callable[[Filter], Iterator[int]]) -> None:
        with self._database.read() as connection:
            total = count(connection, wanted)
        changed = 0
        with Progress(console=self._console, transient=True) as progress:
            task = progress.add_task(done, total=total)
            for number in change(wanted):
                changed += number
                progress.update(task, completed=changed)
        self._console.print(f"{done} {changed} dead letter{'' if changed == 1 else 's'}.")


def _time(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone().isoformat(sep=" ", timespec="milliseconds")
    return "" if value is None else str(value)
