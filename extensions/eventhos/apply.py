"""Command ``apply``: systems, events, actions and contracts from a file."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

import click

from extension_kit.protocol import Kit

from .encryption import Encryption
from .settings import EventhosSettings

if TYPE_CHECKING:
    from .provision_changes import Change
    from .provision_entries import Entry

_WOULD_CHANGE = 3  # 1 and 2 are errors


class _Undone(Exception):
    """Raised to roll back a transaction that only shows its changes."""


@click.command(
    epilog="\b\nExamples:\n  extension-kit eventhos apply systems.yaml\n"
    "  CRM_KEY=... extension-kit eventhos apply --yes - < systems.yaml"
)
@click.argument("file", type=click.File("rb"))
@click.option("--plan", "only_plan", is_flag=True, help="Only show the changes. Exit code: 0 for none, 3 for any.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def apply(kit: Kit, settings: EventhosSettings, file: BinaryIO, only_plan: bool, yes: bool) -> None:
    """Make and change systems, events, actions and contracts as the YAML in FILE says; - for stdin.

    They are found by their identifiers. All changes are made, or none. What is in the database and not in the file
    stays as it is.
    """
    from .provision_entries import check_entries
    from .provision_file import FileProblem, read_file

    if only_plan and yes:
        raise click.UsageError("give either --plan or --yes, not both")
    try:
        entries = check_entries(file.name, read_file(file))
    except FileProblem as problem:
        raise click.ClickException(str(problem)) from None
    encryption = Encryption.of(kit, settings)
    if yes:
        _show(_provision(kit, settings, encryption, file.name, entries), is_done=True)
        return
    planned = _provision(kit, settings, encryption, file.name, entries, is_plan=True)
    _show(planned, is_done=False)
    if all(change.is_none for change in planned):
        return
    if only_plan:
        sys.exit(_WOULD_CHANGE)
    if not sys.stdin.isatty():
        raise click.ClickException("no terminal to confirm on: --yes makes the changes")
    click.confirm("Make these changes?", abort=True, err=True)
    _provision(kit, settings, encryption, file.name, entries, planned=planned)
    click.echo("Done.")


def _provision(
    kit: Kit,
    settings: EventhosSettings,
    encryption: Encryption,
    name: str,
    entries: "Sequence[Entry]",
    *,
    is_plan: bool = False,
    planned: "Sequence[Change] | None" = None,
) -> "list[Change]":
    """Make the changes in one transaction and return them; ``is_plan`` undoes them.

    Raises:
        ClickException: an entry is refused, or the changes are not those that were planned; nothing was changed.
    """
    from .provisioning import Refused, provision

    changes: list[Change] = []
    try:
        with kit.transaction() as transaction:
            changes = provision(transaction.connection, kit, settings, encryption, entries)
            if planned is not None and changes != planned:
                raise click.ClickException("the database has changed meanwhile; nothing was done: try again")
            if is_plan:
                raise _Undone  # noqa: TRY301 - the transaction ends with it
    except Refused as refused:
        raise click.ClickException(f"{name}: {refused}; nothing was changed") from None
    except _Undone:
        pass
    return changes


def _show(changes: "Sequence[Change]", *, is_done: bool) -> None:
    for change in changes:
        sign, color = ("+", "green") if change.is_new else ("=", None) if change.is_none else ("~", "yellow")
        click.secho(f"{sign} {change.entry.kind[:-1]} {change.entry.identifier}", fg=color)
        for name, before, after in change.fields:
            click.echo(f"    {name}: {before} -> {after}")
    if all(change.is_none for change in changes):
        click.echo("Nothing to change.")
        return
    made = sum(change.is_new for change in changes)
    same = sum(change.is_none for change in changes)
    changed = len(changes) - made - same
    done = f"{made} made, {changed} changed, {same} as before."
    click.echo(done if is_done else f"{made} to make, {changed} to change.")
