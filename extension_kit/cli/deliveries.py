"""Command ``deliveries``: its arguments; ``delivery_lists`` and ``delivery_actions`` do the work, imported on use."""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from extension_kit.cli.database_group import DatabaseGroup, database_url, examples
from extension_kit.deliveries.moments import parse_moment
from extension_kit.errors import RegistrationError
from extension_kit.events.patterns import check_pattern

if TYPE_CHECKING:
    from extension_kit.deliveries.queries import Filter


class _Time(click.ParamType[datetime]):
    """Parameter type of a point in time, given as a time or an age."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return parse_moment(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _EventName(click.ParamType[str]):
    """Parameter type of an event name, or of a pattern of names."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return check_pattern(value) if "*" in value else str(value)
        except RegistrationError as error:
            self.fail(str(error), param, ctx)


_REF = click.IntRange(1, 2**63 - 1)


@click.group(cls=DatabaseGroup)
def deliveries() -> None:
    """List, show, replay, retry and discard deliveries.

    A delivery is one event for one listener. It waits for its next attempt, was delivered, is a dead letter because it
    was given up, or was discarded. The database is that of EXTENSION_DATABASE_URL; the extension may be running.
    """


def _filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that filter deliveries."""
    for option in (
        click.option(
            "--before",
            type=_Time(),
            help="Created before a time (local, without offset), or longer ago than 30m, 12h, 7d.",
        ),
        click.option("--after", type=_Time(), help="Created after a time, or less long ago."),
        click.option("--error", help="A text that the last error contains, in upper or lower case."),
        click.option("--source", help="The source of the event, such as steadybit."),
        click.option("--subject", help="The subject of the event, such as ADM-4/17."),
        click.option("--event-id", help="The id of the event."),
        click.option("--event", type=_EventName(), help="The name of the event, or a pattern: 'experiment.*'."),
        click.option("--listener", help="Beginning of the listener's key."),
    ):
        command = option(command)
    return command


def _filter(event: str | None = None, **wanted: Any) -> "Filter":
    from extension_kit.deliveries.queries import Filter

    is_pattern = event is not None and "*" in event
    return Filter(event_pattern=event if is_pattern else None, event_name=None if is_pattern else event, **wanted)


@deliveries.command(
    "list",
    epilog=examples(
        "deliveries list --status dead",
        "deliveries list --listener extension-oncall.page --after 2h",
        "deliveries list --status dead --json | jq '.[].delivery'",
    ),
)
@click.option("--status", type=click.Choice(["waiting", "delivered", "dead", "discarded"]), help="Their status.")
@_filtered
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="Maximum number of deliveries."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array; times are in UTC.")
def list_deliveries(limit: int, as_json: bool, **wanted: Any) -> None:
    """List deliveries, newest first."""
    from extension_kit.cli.delivery_lists import list_deliveries

    list_deliveries(database_url(), _filter(**wanted), limit, as_json=as_json)


@deliveries.command(epilog=examples("deliveries show 7"))
@click.argument("ref", type=_REF, metavar="DELIVERY")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object; times are in UTC.")
def show(ref: int, as_json: bool) -> None:
    """Show one delivery, its attempts, and the event's body.

    Errors and answers of the receiver are shown as recorded. In the body, values of keys that sound secret are hidden,
    and long texts and lists are cut.
    """
    from extension_kit.cli.delivery_lists import show_delivery

    show_delivery(database_url(), ref, as_json=as_json)


def _several(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the arguments that select deliveries: numbers, a filter or --all."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        command = click.option("--all", "everything", is_flag=True, help=f"All {what}.")(_filtered(command))
        return click.argument("refs", nargs=-1, type=_REF, metavar="[DELIVERY]...")(command)

    return add


def _chosen(refs: tuple[int, ...], everything: bool, status: str | None, wanted: dict[str, Any]) -> "Filter":
    if (bool(refs), everything, any(wanted.values())).count(True) != 1:
        raise click.UsageError("select deliveries by numbers, by a filter or by --all")
    return _filter(refs=refs, status=status, **wanted)


@deliveries.command(
    epilog=examples(
        "deliveries replay 7 8",
        "deliveries replay --listener extension-oncall.page --after 12h",
        "deliveries replay --event 'experiment.*' --error 'HTTP 503'",
        "deliveries replay --all",
    ),
)
@_several("dead letters")
def replay(refs: tuple[int, ...], everything: bool, **wanted: Any) -> None:
    """Replay dead letters.

    Select them by numbers, by a filter or by --all. Each gets as many attempts as a new delivery. `list --status dead`
    with the same filter shows them.
    """
    from extension_kit.cli.delivery_actions import replay_deliveries

    replay_deliveries(database_url(), _chosen(refs, everything, "dead", wanted))


@deliveries.command(
    "retry-now",
    epilog=examples(
        "deliveries retry-now 7 8",
        "deliveries retry-now --listener oncall.page",
    ),
)
@_several("waiting deliveries")
def retry_now(refs: tuple[int, ...], everything: bool, **wanted: Any) -> None:
    """Make the next attempt of waiting deliveries now.

    Select them by numbers, by a filter or by --all. The number of their remaining attempts does not change. A delivery
    behind another one still waits for it.
    """
    from extension_kit.cli.delivery_actions import retry_deliveries_now

    retry_deliveries_now(database_url(), _chosen(refs, everything, None, wanted))


@deliveries.command(
    epilog=examples(
        "deliveries discard 7 8",
        "deliveries discard --before 30d",
        "deliveries discard --status waiting --listener oncall.page",
    ),
)
@click.option(
    "--status",
    type=click.Choice(["dead", "waiting"]),
    help="With a filter or --all: dead letters (the default), or waiting deliveries.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_several("dead letters, or with --status waiting all waiting deliveries")
def discard(refs: tuple[int, ...], everything: bool, status: str | None, yes: bool, **wanted: Any) -> None:
    """Discard dead letters or waiting deliveries.

    Select them by numbers, by a filter or by --all. They cannot be replayed afterwards. `list` with the same filter and
    `--status` shows them. Deliveries with a running attempt are skipped.
    """
    from extension_kit.cli.delivery_actions import discard_deliveries

    if refs and status:
        raise click.UsageError("--status needs a filter or --all, and cannot be combined with numbers")

    def confirm(question: str) -> None:
        if not yes and not sys.stdin.isatty():
            raise click.UsageError("no terminal to confirm on: --yes discards waiting deliveries")
        if not yes:
            click.confirm(question, abort=True, err=True)

    discard_deliveries(database_url(), _chosen(refs, everything, status, wanted), confirm)


@deliveries.command(epilog=examples("deliveries adopt oncall.page@/events/page oncall.call@/events/call oncall.py"))
@click.argument("old")
@click.argument("new")
@click.argument("targets", nargs=-1, metavar="[FILE_OR_MODULE]...")
def adopt(old: str, new: str, targets: tuple[str, ...]) -> None:
    """Move deliveries of the listener OLD to the listener NEW.

    For a renamed function, file or path: no function handles the waiting deliveries of the old name. OLD and NEW are
    keys of listeners, as in `deliveries list`. Waiting deliveries are attempted at once, with as many attempts as a new
    delivery; dead letters stay dead, and can be replayed. With files or modules, NEW must be in one of them.
    """
    from extension_kit.cli.delivery_actions import adopt_deliveries

    adopt_deliveries(database_url(), old, new, targets)


@deliveries.command()
def rebuild() -> None:
    """Have workers look at all waiting deliveries anew.

    For a database in which deliveries were changed by hand, or restored in part. Running attempts continue.
    """
    from extension_kit.cli.delivery_actions import rebuild_queue

    rebuild_queue(database_url())
