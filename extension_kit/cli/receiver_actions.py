"""Actions of ``extension-kit receivers``: list, pause, resume."""

from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches

import click
from sqlalchemy import Connection

from extension_kit.cli.database import upgraded
from extension_kit.cli.delivery_table import write_json
from extension_kit.deliveries.action_rows import COMMAND_LINE, add_receiver_action
from extension_kit.deliveries.function_handlers import listeners_by_key
from extension_kit.deliveries.pauses import TooManyPaused, pause, paused, resume
from extension_kit.deliveries.receivers import Receiver, find_receivers, is_known, number_waiting
from extension_kit.deliveries.subscription_matching import subscription_ref
from extension_kit.deliveries.tables import bounded
from extension_kit.loading import load_extensions
from extension_kit.observability.printable import printable

_COMPARED = 1000  # keys among which one is looked for that may have been meant
_NAMED = 10  # keys in an error


def list_receivers(url: str, limit: int, *, as_json: bool) -> None:
    """Print receivers with the numbers of their waiting deliveries and dead letters, paused ones first.

    Raises:
        StoreError: the database cannot be used.
    """
    with upgraded(url) as database, database.read() as connection:
        found = find_receivers(connection, limit + 1)
    others = [each for each in found if each.paused is None]
    shown = found[:-1] if len(others) > limit else found
    if as_json:
        write_json([_record(each) for each in shown])
    elif not shown:
        click.echo(f"There are no deliveries in {database.name}, and no receiver is paused.")
    else:
        _write_table(shown)
        if len(shown) < len(found):
            click.echo("There are more; --limit shows them.")


def pause_receiver(url: str, key: str, targets: Sequence[str]) -> None:
    """Pause a receiver.

    Raises:
        ClickException: there is no such receiver, it is an immediate listener, or too many are paused; nothing was
            changed.
        HandlerFileError: a file or module cannot be loaded.
        StoreError: the database cannot be used.
    """
    in_files = bool(targets) and subscription_ref(key) is None
    if in_files:
        _check_in_files(key, targets)
    with upgraded(url) as database:
        with database.read() as connection:
            if not in_files and not is_known(connection, key):
                raise click.ClickException(_unknown(connection, key))
        try:
            with database.transaction() as connection:
                is_new = pause(connection, key, COMMAND_LINE)
                if is_new:
                    add_receiver_action(connection, "pause", key, COMMAND_LINE)
                waiting = number_waiting(connection, key)
                since, by = paused(connection)[bounded(key)]
        except TooManyPaused as error:
            raise click.ClickException(str(error)) from None
    told = f"{_waiting(waiting)} until `extension-kit receivers resume` with this key."
    if is_new:
        click.echo(f"Paused {printable(key)}. {told}")
    else:
        click.echo(f"{printable(key)} is paused already, since {_local(since)} by {printable(by)}. {told}")


def resume_receiver(url: str, key: str) -> None:
    """Resume a receiver.

    Raises:
        ClickException: it is not paused.
        StoreError: the database cannot be used.
    """
    with upgraded(url) as database:
        with database.read() as connection:
            pauses = paused(connection)
        if bounded(key) not in pauses:
            named = ", ".join(printable(each) for each in list(pauses)[:_NAMED])
            others = f"paused are: {named}" if pauses else "no receiver is paused"
            raise click.ClickException(f"{key} is not paused; {others}")
        with database.transaction() as connection:
            if resume(connection, key):
                add_receiver_action(connection, "resume", key, COMMAND_LINE)
            waiting = number_waiting(connection, key)
    click.echo(f"Resumed {printable(key)}. {_waiting(waiting)} for a worker.")


def _check_in_files(key: str, targets: Sequence[str]) -> None:
    """Refuse a key that no durable listener of the files has."""
    listeners = [listener for each in load_extensions(targets) for listener in each.make_registry().listeners]
    durable = listeners_by_key(listener for listener in listeners if not listener.immediate)
    if bounded(key) in durable:
        return
    if any(listener.key == key for listener in listeners):
        raise click.ClickException(
            f"{key} is an immediate listener, which cannot be paused: it runs before its event is answered, so that "
            "nothing could wait. Only durable listeners and subscriptions can be paused"
        )
    there = ", ".join(listener.key for listener in listeners if not listener.immediate) or "none that are durable"
    raise click.ClickException(f"{key} is not in {', '.join(targets)}; there are: {there}")


def _unknown(connection: Connection, key: str) -> str:
    keys = [each.key for each in find_receivers(connection, _COMPARED)]
    meant = "".join(f" (did you mean {printable(close)}?)" for close in get_close_matches(key, keys, 1))
    return (
        f"there is no receiver {key}: no delivery and no subscription has this key{meant}. A listener that has had no "
        "event yet is known by its file, after the key. Immediate listeners have no deliveries, and cannot be paused"
    )


def _record(receiver: Receiver) -> dict[str, object]:
    since, by = receiver.paused or (None, None)
    return {
        "receiver": receiver.key,
        "waiting": receiver.waiting,
        "dead": receiver.dead,
        "paused_since": since,
        "paused_by": by,
    }


def _write_table(receivers: Sequence[Receiver]) -> None:
    rows = [("receiver", "waiting", "dead", "paused")]
    for each in receivers:
        said = f"since {_local(each.paused.since)} by {printable(each.paused.by)}" if each.paused else ""
        rows.append((printable(each.key), str(each.waiting), str(each.dead), said))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _waiting(number: int) -> str:
    return f"{number} {'delivery waits' if number == 1 else 'deliveries wait'}"


def _local(time: datetime) -> str:
    return time.astimezone().isoformat(sep=" ", timespec="seconds")
