"""``extension-kit deliveries``: what people see of deliveries, and do with them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection, Row

from extension_kit.agent.report import printable
from extension_kit.database_commands import opened
from extension_kit.deliveries.models import DEAD, WAITING
from extension_kit.deliveries.replay import Filter, count, discard, find, history, rebuild, replay
from extension_kit.engine.app import Engine
from extension_kit.progress import progress
from extension_kit.store import version
from extension_kit.store.database import Database
from extension_kit.store.migrate import current

_COLUMNS = ("delivery", "status", "attempts", "event", "event_id", "listener", "due_at", "ended_at", "error")
_ERROR_CHARACTERS = 80
_WIDTH = 2000
"""Characters in a line where there is no terminal: programs want each delivery in one."""


def list_deliveries(url: str, wanted: Filter, limit: int, *, as_json: bool) -> None:
    """Write deliveries, newest first.

    Raises:
        StoreError: the database cannot be used.
    """
    with _upgraded(url) as database, database.read() as connection:
        found = find(connection, wanted, limit)
        total = count(connection, wanted)
    if as_json:
        _write_json([_delivery(row) for row in found])
        return
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDTH
    table = Table(*_COLUMNS, box=box.SIMPLE_HEAD)
    for row in found:
        shown = {**_delivery(row), "error": row.error and row.error[:_ERROR_CHARACTERS]}
        table.add_row(*(Text(_text(shown[column]), overflow="fold") for column in _COLUMNS))
    console.print(table)
    if total > len(found):
        console.print(f"{len(found)} of {total}, the newest; --limit shows more.")


def show_delivery(url: str, ref: int, *, as_json: bool) -> None:
    """Write one delivery and its attempts.

    Raises:
        ClickException: there is no such delivery.
        StoreError: the database cannot be used.
    """
    with _upgraded(url) as database, database.read() as connection:
        found = find(connection, Filter(refs=(ref,)), 1)
        made = history(connection, ref)
    if not found:
        raise click.ClickException(f"there is no delivery {ref}")
    delivery, tries = _delivery(found[0]), [_attempt(row) for row in made]
    if as_json:
        _write_json({**delivery, "history": tries})
        return
    _write_lines(delivery)
    for attempt in tries:
        click.echo()
        _write_lines(attempt)


def replay_deliveries(url: str, wanted: Filter) -> None:
    """Try dead letters again.

    Raises:
        ClickException: a delivery that is named is none of them; nothing was changed.
        StoreError: the database cannot be used.
    """
    with _upgraded(url) as database:
        _change(database, "Replayed", wanted, lambda: replay(database, Engine(database), wanted))


def discard_deliveries(url: str, wanted: Filter) -> None:
    """Throw dead letters away.

    Raises:
        ClickException: a delivery that is named is none of them; nothing was changed.
        StoreError: the database cannot be used.
    """
    with _upgraded(url) as database:
        _change(database, "Discarded", wanted, lambda: discard(database, wanted))


def rebuild_queue(url: str) -> None:
    """Fill the engine's queue anew from the tables.

    Raises:
        StoreError: the database cannot be used; nothing was changed.
    """
    with _upgraded(url) as database, database.transaction() as connection:
        waiting = count(connection, Filter(status=WAITING))
        with progress("deliveries", waiting) as advance:
            jobs = rebuild(connection, Engine(database), advance)
    click.echo(f"{jobs} deliveries wait in the queue now.")


@contextmanager
def _upgraded(url: str) -> Iterator[Database]:
    """A database that has the tables this release needs."""
    with opened(url) as database:
        version.check(current(database), database.name)
        yield database


def _change(database: Database, done: str, wanted: Filter, change: Callable[[], Iterator[int]]) -> None:
    with database.read() as connection:
        _refuse_others_than_dead(connection, wanted.refs)
        total = count(connection, wanted)
    changed = 0
    with progress("dead letters", total) as advance:
        for number in change():
            changed += number
            advance(number)
    click.echo(f"{done} {changed} dead letter{'' if changed == 1 else 's'}.")


def _refuse_others_than_dead(connection: Connection, refs: Sequence[int]) -> None:
    status = {row.ref: row.status for row in find(connection, Filter(refs=tuple(refs)), len(refs))} if refs else {}
    for ref in refs:
        if ref not in status:
            raise click.ClickException(f"there is no delivery {ref}; nothing was changed")
        if status[ref] != DEAD:
            raise click.ClickException(f"delivery {ref} is no dead letter, it is {status[ref]}; nothing was changed")


def _delivery(row: Row[Any]) -> dict[str, object]:
    """What is shown of a delivery. The event's body is not: it may hold what is nobody's business."""
    return {
        "delivery": row.ref,
        "status": row.status,
        "attempts": row.attempts,
        "event": row.name,
        "event_id": row.event_id,
        "subject": row.subject,
        "listener": row.listener,
        "series": row.series,
        "place_in_series": row.count,
        "created_at": row.created_at,
        "due_at": row.due_at if row.status == WAITING else None,
        "ended_at": row.ended_at,
        "error": row.error,
    }


def _attempt(row: Row[Any]) -> dict[str, object]:
    return {
        "attempt": row.number,
        "result": row.result or "in progress",
        "started_at": row.started_at,
        "seconds": (row.ended_at - row.started_at).total_seconds() if row.ended_at else None,
        "status": row.status,
        "error": row.error,
        "excerpt": row.excerpt,
    }


def _write_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, default=datetime.isoformat))


def _write_lines(fields: Mapping[str, object]) -> None:
    for name, value in fields.items():
        if value is not None:
            click.echo(f"{name + ':':<17}{_text(value)}")


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone().isoformat(sep=" ", timespec="milliseconds")
    return "" if value is None else printable(str(value))
