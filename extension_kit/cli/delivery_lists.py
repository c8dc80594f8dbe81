"""Lists of ``extension-kit deliveries``: list, show."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import click
from sqlalchemy import Connection, Row

from extension_kit.cli.database import upgraded
from extension_kit.cli.delivery_table import shown_body, write_body, write_fields, write_json, write_list
from extension_kit.deliveries.adoption import describe_orphans, last_unknown
from extension_kit.deliveries.delivery_fields import delivery_fields
from extension_kit.deliveries.inbox import Inbox
from extension_kit.deliveries.pauses import paused
from extension_kit.deliveries.queries import Filter, body_of, count, find, history
from extension_kit.deliveries.tables import WAITING
from extension_kit.deliveries.waiting import obstacles
from extension_kit.observability.printable import printable

_NAMED = 5  # receivers in a line


def list_deliveries(url: str, wanted: Filter, limit: int, *, as_json: bool) -> None:
    """Print deliveries, newest first, and the number of those waiting for unknown listeners.

    Raises:
        StoreError: the database cannot be used.
    """
    with upgraded(url) as database, database.read() as connection:
        found = _records(connection, find(connection, wanted, limit))
        if as_json:
            write_json(found)
            return
        with closing(Inbox(database)) as inbox:
            unfiled = inbox.unfiled().events
        total = count(connection, wanted)
        everything = total or count(connection, Filter())
        unknown = last_unknown(connection)
        pauses = paused(connection)
    if found:
        write_list(found)
    elif everything:
        click.echo(f"No delivery in {database.name} matches, of {everything}.")
    else:
        click.echo(f"There are no deliveries in {database.name}.")
    if total > len(found):
        click.echo(f"{len(found)} of {total}, the newest; --limit shows more.")
    if unfiled:
        click.echo(f"{unfiled} event{'s' if unfiled > 1 else ''} not filed yet: a worker makes their deliveries.")
    waited_for = {row["listener"] for row in found if row["status"] == WAITING}
    if at_rest := [key for key in pauses if key in waited_for]:
        named = ", ".join(map(printable, at_rest[:_NAMED]))
        click.echo(f"Paused, so that nothing is attempted: {named}. `extension-kit receivers resume KEY` ends that.")
    if unknown:
        click.echo(f"{describe_orphans(unknown, 'which the worker did not know that last tried')}.")


def show_delivery(url: str, ref: int, *, as_json: bool) -> None:
    """Print one delivery, the event's body without secrets, and the attempts.

    Raises:
        ClickException: there is no such delivery.
        StoreError: the database cannot be used.
    """
    with upgraded(url) as database, database.read() as connection:
        found = _records(connection, find(connection, Filter(refs=(ref,)), 1))
        if not found:
            raise click.ClickException(f"there is no delivery {ref}")
        body = shown_body(body_of(connection, ref))
        tries = [_attempt(row) for row in history(connection, ref)]
    if as_json:
        write_json({**found[0], "body": body, "history": tries})
        return
    write_fields(found[0])
    for attempt in tries:
        click.echo()
        write_fields(attempt)
    click.echo()
    write_body(body)


def _records(connection: Connection, rows: Sequence[Row[Any]]) -> list[dict[str, object]]:
    behind = obstacles(connection, rows)
    return [{"delivery": row.ref, **delivery_fields(row, behind)} for row in rows]


def _attempt(row: Row[Any]) -> dict[str, object]:
    return {
        "attempt": row.number,
        "result": row.result,
        "started_at": row.started_at,
        "seconds": (row.ended_at - row.started_at).total_seconds(),
        "status": row.status,
        "error": row.error,
        "excerpt": row.excerpt,
    }
