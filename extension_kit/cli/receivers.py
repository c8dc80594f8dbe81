"""Command ``receivers``: its arguments; its actions, imported on use, are in ``receiver_actions``."""

import click

from extension_kit.cli.database_group import DatabaseGroup, database_url, examples


@click.group(cls=DatabaseGroup)
def receivers() -> None:
    """List, pause and resume receivers of deliveries.

    A receiver is a durable listener or a subscription, named by its key as in `deliveries list`:
    extension-oncall.page@/events/page, or subscription:7. The database is that of EXTENSION_DATABASE_URL; the extension
    may be running.
    """


@receivers.command(
    "list", epilog=examples("receivers list", "receivers list --json | jq '.[] | select(.paused_since)'")
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    help="Maximum number of receivers that are not paused.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array; times are in UTC.")
def list_receivers(limit: int, as_json: bool) -> None:
    """List receivers with their waiting deliveries and dead letters.

    Those that are paused come first, then those with the most waiting deliveries.
    """
    from extension_kit.cli.receiver_actions import list_receivers

    list_receivers(database_url(), limit, as_json=as_json)


@receivers.command(
    epilog=examples(
        "receivers pause extension-oncall.page@/events/page",
        "receivers pause subscription:7",
        "receivers pause extension-oncall.page@/events/page oncall.py",
    )
)
@click.argument("receiver", metavar="KEY")
@click.argument("targets", nargs=-1, metavar="[FILE_OR_MODULE]...")
def pause(receiver: str, targets: tuple[str, ...]) -> None:
    """Pause the receiver KEY.

    Its deliveries wait, in their order, and no attempt begins until it is resumed; attempts in progress end. With files
    or modules, a listener is known that has had no event yet. Immediate listeners cannot be paused.
    """
    from extension_kit.cli.receiver_actions import pause_receiver

    pause_receiver(database_url(), receiver, targets)


@receivers.command(epilog=examples("receivers resume extension-oncall.page@/events/page"))
@click.argument("receiver", metavar="KEY")
def resume(receiver: str) -> None:
    """Resume the receiver KEY.

    Its deliveries are attempted at once, in their order. The time of the pause uses up nothing of their retry schedule.
    """
    from extension_kit.cli.receiver_actions import resume_receiver

    resume_receiver(database_url(), receiver)
