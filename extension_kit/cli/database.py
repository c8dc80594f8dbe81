"""``extension-kit deliveries`` and ``extension-kit db``: their arguments.

What they do is in ``delivery_commands`` and ``database_commands``, which are imported when they are needed: other
commands should start as fast as if they did not exist.
"""

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from extension_kit.errors import StoreError

if TYPE_CHECKING:
    from extension_kit.deliveries.replay import Filter


class _Commands(click.Group):
    """Commands for a database: where it cannot be used they end with one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StoreError as error:
            raise click.ClickException(str(error)) from None


_AGE = re.compile(r"(\d+)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class _Time(click.ParamType[datetime]):
    """A point in time, as such or by its age."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            if age := _AGE.fullmatch(value):
                return datetime.now(UTC) - timedelta(seconds=int(age[1]) * _SECONDS[age[2]])
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a time (2026-11-21T10:30) nor an age (30m, 12h, 7d)", param, ctx)


_REF = click.IntRange(1, 2**63 - 1)


def _examples(*arguments: str) -> str:
    """The end of a help text."""
    return "\n".join(("\b", "Examples:", *(f"  extension-kit {line}" for line in arguments)))


def _database_url() -> str:
    from extension_kit.settings.kit import Settings

    return Settings.from_environment().database_url


@click.group(cls=_Commands)
def deliveries() -> None:
    """Look at deliveries; have them tried again, or throw them away.

    A delivery is one event for one listener. It waits for its next attempt, was delivered, is a dead letter because it
    was given up, or was discarded. The database is that of EXTENSION_DATABASE_URL; the extension may be running.
    """


def _filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which deliveries are meant."""
    for option in (
        click.option(
            "--before",
            type=_Time(),
            help="Created before a time (local, without offset), or longer ago than 30m, 12h, 7d.",
        ),
        click.option("--after", type=_Time(), help="Created after a time, or less long ago."),
        click.option("--event-id", help="The id of the event."),
        click.option("--event", "event_name", help="The name of the event."),
        click.option("--listener", help="What the listener's key begins with."),
    ):
        command = option(command)
    return command


def _filter(**wanted: Any) -> "Filter":
    from extension_kit.deliveries.replay import Filter

    return Filter(**wanted)


@deliveries.command(
    "list",
    epilog=_examples(
        "deliveries list --status dead",
        "deliveries list --listener extension-oncall.page --after 2h",
        "deliveries list --status dead --json | jq '.[].delivery'",
    ),
)
@click.option("--status", type=click.Choice(["waiting", "delivered", "dead", "discarded"]))
@_filtered
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array; times are in UTC.")
def list_deliveries(limit: int, as_json: bool, **wanted: Any) -> None:
    """List deliveries, newest first."""
    from extension_kit.cli.delivery_actions import list_deliveries

    list_deliveries(_database_url(), _filter(**wanted), limit, as_json=as_json)


@deliveries.command(epilog=_examples("deliveries show 7"))
@click.argument("ref", type=_REF, metavar="DELIVERY")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object; times are in UTC.")
def show(ref: int, as_json: bool) -> None:
    """Show one delivery, its attempts, and the event's body.

    What went wrong, and what the receiver answered, is shown as it was written down. Of the body, the values of keys
    that sound secret are hidden, and long texts and lists are cut.
    """
    from extension_kit.cli.delivery_actions import show_delivery

    show_delivery(_database_url(), ref, as_json=as_json)


def _several(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the arguments that say which deliveries are meant."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        command = click.option("--all", "everything", is_flag=True, help=f"All {what}.")(_filtered(command))
        return click.argument("refs", nargs=-1, type=_REF, metavar="[DELIVERY]...")(command)

    return add


def _chosen(refs: tuple[int, ...], everything: bool, status: str | None, wanted: dict[str, Any]) -> "Filter":
    if (bool(refs), everything, any(wanted.values())).count(True) != 1:
        raise click.UsageError("say which: numbers, or a filter, or --all")
    return _filter(refs=refs, status=status, **wanted)


@deliveries.command(
    epilog=_examples(
        "deliveries replay 7 8",
        "deliveries replay --listener extension-oncall.page --after 12h",
        "deliveries replay --all",
    ),
)
@_several("dead letters")
def replay(refs: tuple[int, ...], everything: bool, **wanted: Any) -> None:
    """Try dead letters again.

    Those of the numbers, of a filter, or all; each with as many attempts as a new delivery. `list --status dead` with
    the same filter shows which they are.
    """
    from extension_kit.cli.delivery_actions import replay_deliveries

    replay_deliveries(_database_url(), _chosen(refs, everything, "dead", wanted))


@deliveries.command(
    "retry-now",
    epilog=_examples(
        "deliveries retry-now 7 8",
        "deliveries retry-now --listener oncall.page",
    ),
)
@_several("that wait")
def retry_now(refs: tuple[int, ...], everything: bool, **wanted: Any) -> None:
    """Make the next attempt of deliveries that wait at once.

    Those of the numbers, of a filter, or all. The attempts that are left to them stay the same; what waits behind
    another delivery goes on waiting for that.
    """
    from extension_kit.cli.delivery_actions import retry_deliveries_now

    retry_deliveries_now(_database_url(), _chosen(refs, everything, None, wanted))


@deliveries.command(
    epilog=_examples(
        "deliveries discard 7 8",
        "deliveries discard --before 30d",
        "deliveries discard --status waiting --listener oncall.page",
    ),
)
@click.option(
    "--status",
    type=click.Choice(["dead", "waiting"]),
    help="With a filter or --all: dead letters (the default), or what waits.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_several("dead letters, or with --status waiting all that wait")
def discard(refs: tuple[int, ...], everything: bool, status: str | None, yes: bool, **wanted: Any) -> None:
    """Throw dead letters away, or deliveries that wait.

    Those of the numbers, of a filter, or all; they cannot be replayed any more. `list` with the same filter and
    `--status` shows which they are. What is being attempted right now is left alone.
    """
    from extension_kit.cli.delivery_actions import discard_deliveries

    if refs and status:
        raise click.UsageError("--status goes with a filter or --all: numbers say which by themselves")

    def confirm(question: str) -> None:
        if not yes and not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask: --yes throws away what waits")
        if not yes:
            click.confirm(question, abort=True, err=True)

    discard_deliveries(_database_url(), _chosen(refs, everything, status, wanted), confirm)


@deliveries.command(epilog=_examples("deliveries adopt oncall.page@/events/page oncall.call@/events/call oncall.py"))
@click.argument("old")
@click.argument("new")
@click.argument("targets", nargs=-1, metavar="[FILE_OR_MODULE]...")
def adopt(old: str, new: str, targets: tuple[str, ...]) -> None:
    """Hand over what the listener OLD has left to the listener NEW.

    For a function, a file or a path that was renamed: nothing handles what waits for the old name any more. Both are
    keys of listeners, as `deliveries list` shows them. What waits is tried at once, with as many attempts as a new
    delivery; dead letters stay dead, and can be replayed. With files or modules, NEW has to be in one of them.
    """
    from extension_kit.cli.delivery_actions import adopt_deliveries

    adopt_deliveries(_database_url(), old, new, targets)


@deliveries.command()
def rebuild() -> None:
    """Make the queue anew from the tables.

    For a queue that was lost or damaged, or after deliveries were changed by hand. Attempts under way go on, and events
    that come in wait as long as it takes.
    """
    from extension_kit.cli.delivery_actions import rebuild_queue

    rebuild_queue(_database_url())


@click.group(cls=_Commands)
def db() -> None:
    """Make, upgrade, look at and copy the database of durable listeners.

    It is that of EXTENSION_DATABASE_URL: a SQLite file (extension.db in the working directory), or PostgreSQL.
    """


@db.command("upgrade")
@click.argument("targets", nargs=-1, metavar="[FILE_OR_MODULE]...")
def db_upgrade(targets: tuple[str, ...]) -> None:
    """Make the tables, or bring them up to date. With SQLite, `serve` does it by itself.

    Extensions that keep tables of their own, such as extensions/croneye, have to be named.
    """
    from extension_kit.cli.database_actions import upgrade_database

    upgrade_database(_database_url(), targets)


@db.command("status")
def db_status() -> None:
    """Say whether the database can be used, and what is in it. The exit code is 1 where it cannot."""
    from extension_kit.cli.database_actions import show_status

    show_status(_database_url())


@db.command("copy", epilog=_examples("db copy sqlite:///extension.db postgresql://user@host/extension"))
@click.argument("from_url")
@click.argument("to_url")
@click.argument("targets", nargs=-1, metavar="[FILE_OR_MODULE]...")
def db_copy(from_url: str, to_url: str, targets: tuple[str, ...]) -> None:
    """Copy everything to an empty database.

    That is how an extension moves from SQLite to PostgreSQL, or back. Stop it first: what comes in meanwhile is not
    copied. Extensions that keep tables of their own, such as extensions/croneye, have to be named. Passwords may be
    left out of the URLs and given as PGPASSWORD, because everybody on a machine can read its command lines.
    """
    from extension_kit.cli.database_actions import copy_database

    copy_database(from_url, to_url, targets)
