"""Commands of extensions, ``extension-kit FILE_OR_MODULE COMMAND``: the extension is imported when it is named."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from extension_kit.cli.database_group import DatabaseGroup
from extension_kit.errors import RegistrationError

if TYPE_CHECKING:
    from extension_kit.runtime.contract import EventProtocol
    from extension_kit.runtime.kit import Kit
    from extension_kit.runtime.service import Service

_READY_MADE = Path("extensions")  # in a checkout, and in the image


def find(word: str) -> click.Group | None:
    """Return the commands of an extension; None if the word names none.

    Args:
        word: file, folder or module, as ``serve`` takes it, or the name of a folder in ``extensions``.

    Raises:
        HandlerFileError: the extension cannot be loaded.
        RegistrationError: it has no commands, or two of one name, or a group in place of a command.
    """
    from extension_kit.loading import is_target, load_extensions

    target = str(_READY_MADE / word) if word in _ready_made() and not Path(word).exists() else word
    if not is_target(target):
        return None
    others = click.Option(
        ["--with", "others"],
        multiple=True,
        metavar="FILE_OR_MODULE",
        help="Another extension that is served together with it.",
    )
    about = f"Commands of {target}.\n\nThe database is that of EXTENSION_DATABASE_URL; the extension may be running."
    group = DatabaseGroup(word, params=[others], help=about)
    for protocol in (each for extension in load_extensions([target]) for each in extension.protocols):
        for command in protocol.commands:
            if isinstance(command, click.Group) or not command.name or command.callback is None:
                raise RegistrationError(f"{target}: {command!r} is no command: use @click.command() on a function")
            if command.name in group.commands:
                raise RegistrationError(f"{target}: two commands are called {command.name}: rename one of them")
            group.add_command(_with_kit(command, command.callback, protocol, target))
    if not group.commands:
        raise RegistrationError(f"{target} has no commands of its own: `extension-kit serve {target}` serves it")
    return group


def write_help(formatter: click.HelpFormatter) -> None:
    """Write the part of the help text about commands of extensions, without importing one."""
    rows = [("FILE_OR_MODULE COMMAND", "Run a command of an extension; FILE_OR_MODULE --help lists them.")]
    if names := _ready_made():
        rows.append(("NAME COMMAND", f"The same of an extension in {_READY_MADE}/: {', '.join(names)}."))
    with formatter.section("Commands of extensions"):
        formatter.write_dl(rows)


def _ready_made() -> list[str]:
    return sorted(file.parent.name for file in _READY_MADE.glob("*/__init__.py"))


def _with_kit(
    command: click.Command, callback: Callable[..., Any], protocol: "EventProtocol[Any]", target: str
) -> click.Command:
    """Return a command that opens the database and gives the function the kit and the protocol's settings."""

    def run(**arguments: Any) -> Any:
        group = click.get_current_context().parent
        others = group.params["others"] if group else ()
        with _opened([target, *others]) as (kit, service):
            settings = next(each.settings for each in service.protocols if each.protocol is protocol)
            return callback(kit, settings, **arguments)

    made = copy(command)
    made.callback = run
    return made


@contextmanager
def _opened(targets: Sequence[str]) -> "Iterator[tuple[Kit, Service]]":
    """Open the database of extensions that are not served here.

    Raises:
        ConfigurationError: the extensions cannot be loaded, or a setting has a bad value.
        StoreError: the database does not exist, or cannot be used, or has to be upgraded first.
    """
    from extension_kit.cli.database import existing
    from extension_kit.deliveries.outbox import Outbox
    from extension_kit.deliveries.sender_pool import Senders
    from extension_kit.deliveries.subscription_matching import matching
    from extension_kit.loading import load_extensions, upgrade_advice
    from extension_kit.runtime.kit import Kit
    from extension_kit.runtime.service import Service
    from extension_kit.settings.kit import Settings
    from extension_kit.store.migrate import upgrade

    settings = Settings.from_environment()
    service = Service.of(load_extensions(targets), settings)
    protocols = [each.protocol for each in service.protocols]
    with existing(settings.database_url) as database:
        tables = [each.tables for each in protocols if each.tables]
        with upgrade_advice(targets, service):
            upgrade(database, tables, only_check=True)
        senders = Senders(settings)
        try:
            outbox = Outbox(database, matching)
            names = (name for each in protocols for name in each.names)
            yield Kit.of(settings, database, senders, outbox, service.registry.listeners, names), service
        finally:
            senders.close()
