"""Actions of ``extension-kit deliveries``: replay, retry now, discard, adopt, rebuild."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import click
from sqlalchemy import Connection

from extension_kit.cli.database import upgraded
from extension_kit.cli.progress import progress
from extension_kit.deliveries.action_rows import (
    COMMAND_LINE,
    DISCARD,
    REPLAY,
    RETRY_NOW,
    ActionCancelled,
    begin,
    end,
    report,
)
from extension_kit.deliveries.adoption import AdoptionError, adopt
from extension_kit.deliveries.queries import Filter, attempted_by_protocols, count, find
from extension_kit.deliveries.replay import discard, replay
from extension_kit.deliveries.requeue import requeue
from extension_kit.deliveries.tables import DEAD, WAITING
from extension_kit.deliveries.waiting import Changed, discard_waiting, obstacles, retry_now
from extension_kit.errors import StoreError
from extension_kit.event_log.filters import to_query
from extension_kit.loading import load_extensions
from extension_kit.store.database import Database

_NOUNS = {DEAD: ("dead letter", "dead letters"), WAITING: ("waiting delivery", "waiting deliveries")}


def replay_deliveries(url: str, wanted: Filter) -> None:
    """Replay dead letters.

    Raises:
        ClickException: a delivery named by number is no dead letter; nothing was changed.
        StoreError: the database cannot be used.
    """
    with upgraded(url) as database:
        with database.read() as connection:
            _statuses(connection, wanted.refs, DEAD)
            own = attempted_by_protocols(connection, wanted)
        changed = _all(database, REPLAY, wanted, (Changed(number, 0) for number in replay(database, wanted)))
    click.echo(f"Replayed {_counted(changed.changed, DEAD)}.")
    for protocol, number in sorted(own.items()):
        are = "is" if number == 1 else "are"
        click.echo(
            f"Of these, {number} {are} attempted by {protocol} itself, which may refuse what it has "
            f"ended: repeat that by the retry of {protocol}, as the README of the extension says."
        )


def retry_deliveries_now(url: str, wanted: Filter) -> None:
    """Make waiting deliveries due now.

    Raises:
        ClickException: a delivery named by number does not wait; nothing was changed.
        StoreError: the database cannot be used.
    """
    wanted = replace(wanted, status=WAITING)
    with upgraded(url) as database:
        with database.read() as connection:
            _statuses(connection, wanted.refs, WAITING)
        changed = _all(database, RETRY_NOW, wanted, retry_now(database, wanted))
        with database.read() as connection:
            behind = obstacles(connection, find(connection, wanted, len(wanted.refs))) if wanted.refs else {}
    click.echo(f"Due now: {_counted(changed.changed, WAITING)}.")
    for ref, first in sorted(behind.items()):
        click.echo(f"Delivery {ref} still waits behind delivery {first}, which has to end first.")
    _say_attempted(changed)


def discard_deliveries(url: str, wanted: Filter, confirm: Callable[[str], None]) -> None:
    """Discard dead letters or waiting deliveries.

    Args:
        url: URL of the database.
        wanted: filter; numbers may be those of dead letters and of waiting deliveries.
        confirm: called with a question before waiting deliveries are discarded by a filter; raises to refuse.

    Raises:
        ClickException: a delivery named by number is neither dead nor waiting; nothing was changed.
        StoreError: the database cannot be used.
    """
    with upgraded(url) as database:
        with database.read() as connection:
            statuses = _statuses(connection, wanted.refs, DEAD, WAITING) or {wanted.status or DEAD}
            waiting = replace(wanted, status=WAITING)
            if WAITING in statuses and not wanted.refs:
                confirm(f"Discard {_counted(count(connection, waiting), WAITING)}?")
        said = []
        changed = Changed(0, 0)
        if DEAD in statuses:
            dead = replace(wanted, status=DEAD)
            number = _all(database, DISCARD, dead, (Changed(number, 0) for number in discard(database, dead))).changed
            said.append(_counted(number, DEAD))
        if WAITING in statuses:
            changed = _all(database, DISCARD, waiting, discard_waiting(database, waiting))
            said.append(_counted(changed.changed, WAITING))
    click.echo(f"Discarded {' and '.join(said)}.")
    _say_attempted(changed)


def adopt_deliveries(url: str, old: str, new: str, targets: Sequence[str]) -> None:
    """Move the waiting deliveries and dead letters of a renamed listener to its new key.

    Args:
        url: URL of the database.
        old: former key of the listener.
        new: its new key.
        targets: handler files, folders or modules, one of which must have the new listener; if empty, no check is made.

    Raises:
        ConfigurationError: a target cannot be loaded.
        ClickException: the keys do not fit; nothing was changed.
        StoreError: the database cannot be used.
    """
    if targets:
        keys = [listener.key for each in load_extensions(targets) for listener in each.make_registry().listeners]
        if new not in keys:
            raise click.ClickException(f"{new} is not in {', '.join(targets)}; there are: {', '.join(keys)}")
    with upgraded(url) as database:
        try:
            with database.transaction() as connection:
                adopted = adopt(connection, old, new)
        except AdoptionError as error:
            raise click.ClickException(f"{error}; nothing was changed") from None
    click.echo(f"Moved {_counted(adopted.waiting, WAITING)} and {_counted(adopted.dead, DEAD)} from {old} to {new}.")


def rebuild_queue(url: str) -> None:
    """Make all waiting deliveries ready that are not being attempted.

    Raises:
        StoreError: the database cannot be used; nothing was changed.
    """
    with upgraded(url) as database, database.transaction() as connection:
        number = requeue(connection)
    click.echo(f"{_counted(number, WAITING)} {'is' if number == 1 else 'are'} in the queue now.")


def _all(database: Database, kind: str, wanted: Filter, changes: Iterable[Changed]) -> Changed:
    """Make changes batch by batch, showing progress and writing it down as an action. Return their sum.

    Raises:
        ClickException: somebody has cancelled it in the event log.
    """
    with database.transaction() as connection:
        total = count(connection, wanted)
        action = begin(connection, kind, COMMAND_LINE, to_query(wanted), total, datetime.now(UTC))
    done = Changed(0, 0)
    error: str | None = "The command was interrupted."
    try:
        with progress(_NOUNS[wanted.status or DEAD][1], total) as advance:
            for change in changes:
                done = Changed(done.changed + change.changed, done.attempted + change.attempted)
                advance(sum(change))
                with database.transaction() as connection:
                    report(connection, action, *done, datetime.now(UTC))
        error = None
    except ActionCancelled as cancelled:
        error = str(cancelled)
        raise click.ClickException(f"{error} Changed before: {done.changed}.") from None
    finally:
        with suppress(StoreError), database.transaction() as connection:
            end(connection, action, *done, datetime.now(UTC), error)
    return done


def _statuses(connection: Connection, refs: Sequence[int], *allowed: str) -> set[str]:
    """Return the statuses of deliveries named by number. Raise ClickException if one is missing or not allowed."""
    status = {row.ref: row.status for row in find(connection, Filter(refs=tuple(refs)), len(refs))} if refs else {}
    for ref in refs:
        if ref not in status:
            raise click.ClickException(f"there is no delivery {ref}; nothing was changed")
        if status[ref] not in allowed:
            wanted = " and no ".join(_NOUNS[each][0] for each in allowed)
            raise click.ClickException(f"delivery {ref} is no {wanted}, it is {status[ref]}; nothing was changed")
    return set(status.values())


def _counted(number: int, status: str) -> str:
    one, more = _NOUNS[status]
    return f"{number} {one if number == 1 else more}"


def _say_attempted(changed: Changed) -> None:
    if changed.attempted:
        click.echo(f"Skipped because an attempt is running: {changed.attempted}.")
