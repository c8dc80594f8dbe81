"""The command line: ``extension-kit``. Each command is a thin layer over a module of the same name."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from extension_kit.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from extension_kit.deliveries.replay import Filter
    from extension_kit.delivery_commands import DeliveryCommands


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="extension-kit")
def commands() -> None:
    """Write, run and try event listener extensions."""


@commands.command()
@click.argument("targets", nargs=-1, required=True, metavar="FILE_OR_MODULE...")
@click.option("--reload", is_flag=True, help="Start anew when a file changes (for development).")
@click.option("--no-worker", is_flag=True, help="Leave durable listeners to `extension-kit worker` elsewhere.")
def serve(targets: tuple[str, ...], reload: bool, no_worker: bool) -> None:
    """Serve the extensions in files, folders or modules. Settings come from the environment."""
    from extension_kit.server import serve as serve_targets
    from extension_kit.settings import Settings

    serve_targets(targets, Settings.from_environment(), reload=reload, deliver=not no_worker)


@commands.command()
@click.argument("targets", nargs=-1, required=True, metavar="FILE_OR_MODULE...")
@click.option("--supervised", is_flag=True, hidden=True)
def worker(targets: tuple[str, ...], supervised: bool) -> None:
    """Make the deliveries of durable listeners; any number of workers on any machine, with PostgreSQL."""
    from extension_kit.settings import Settings
    from extension_kit.worker import work

    sys.exit(work(targets, Settings.from_environment(), supervised=supervised))


@commands.command()
@click.argument("targets", nargs=-1, required=True, metavar="FILE_OR_MODULE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of YAML.")
def openapi(targets: tuple[str, ...], as_json: bool) -> None:
    """Print the OpenAPI document of the extensions in files, folders or modules, with their real paths."""
    from extension_kit.loading import load_extensions
    from extension_kit.service import Service
    from extension_kit.settings import Settings
    from extension_kit.web.index import openapi_document
    from extension_kit.web.openapi import to_yaml

    document = openapi_document(Service.of(load_extensions(targets), Settings.from_environment()))
    click.echo(json.dumps(document, indent=2) if as_json else to_yaml(document).rstrip())


@commands.command()
@click.argument("url")
@click.option("--kubernetes", "ways", flag_value="kubernetes", multiple=True, help="Annotation, labels and ports.")
@click.option("--env", "ways", flag_value="env", multiple=True, help="Environment variables of the agent.")
@click.option("--file", "ways", flag_value="file", multiple=True, help="File on the host of the agent.")
@click.option("--ecs", "ways", flag_value="ecs", multiple=True, help="Tags of the task definition.")
@click.option("--agent-api", "ways", flag_value="agent-api", multiple=True, help="Body for the agent's API.")
@click.option("--index", type=click.IntRange(min=0), default=0, show_default=True, help="Number in --env.")
@click.option("--basic", is_flag=True, help="The extension asks for a user name and a password.")
@click.option(
    "--restricted-port",
    "restricted_ports",
    type=(click.IntRange(1, 65535), str),
    multiple=True,
    metavar="PORT REASON",
    help="Port that network attacks spare (--agent-api, --register).",
)
@click.option("--restricted-ip", "restricted_ips", multiple=True, help="Address that network attacks spare.")
@click.option("--register", metavar="AGENT_URL", help="Register at this agent (key: STEADYBIT_AGENT_KEY, or _FILE).")
@click.option("--unregister", metavar="AGENT_URL", help="Take the registration at this agent back.")
def registration(
    url: str,
    ways: tuple[str, ...],
    index: int,
    basic: bool,
    restricted_ports: tuple[tuple[int, str], ...],
    restricted_ips: tuple[str, ...],
    register: str | None,
    unregister: str | None,
) -> None:
    """Say how agents find the extension at URL (http, https or unix:/path), or tell one agent."""
    from extension_kit.registration import Address, AgentRefusedError, Registration, agent_key, describe, tell_agent

    if sum(map(bool, (ways, register, unregister))) > 1:
        raise click.UsageError("--register and --unregister cannot be combined with each other or with a way to print.")
    extension = Registration(Address.parse(url), index, basic, dict(restricted_ports), restricted_ips)
    try:
        if register:
            tell_agent("POST", register, extension, agent_key())
            click.echo(f"Registered {url}. The agent's log says so: Extension-registry change: ADD")
        elif unregister:
            tell_agent("DELETE", unregister, extension, agent_key())
            click.echo(f"Unregistered {url}.")
        else:
            click.echo(describe(extension, ways), nl=False)
    except AgentRefusedError as error:
        raise click.ClickException(str(error)) from None


@commands.command()
@click.argument("name")
@click.option("--directory", type=click.Path(path_type=Path), help="Where to write it (default: ./NAME).")
def new(name: str, directory: Path | None) -> None:
    """Write a small, complete extension: handlers, test, README, Dockerfile, values for Helm."""
    from extension_kit.scaffold import write_extension

    click.echo(write_extension(name, directory or Path(name)), nl=False)


@commands.command()
@click.argument("url")
@click.option("--replay", metavar="FILE", help="Play events from a file: JSON lines or a JSON array; - for stdin.")
@click.option(
    "--generate", type=click.IntRange(min=1), metavar="N", help="Play N made-up experiment runs (default: 1)."
)
@click.option("--seed", type=int, help="Make up the same runs, ids included, as an earlier call with this seed.")
@click.option("--fast", is_flag=True, help="No pauses, and no limit of events per interval.")
@click.option("--role", type=click.Choice(["leader", "follower", "aws"]), default="leader", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Events per interval.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds between two batches.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to say in Request-Timeout.",
)
@click.option("--wait", type=click.FloatRange(min=0), default=0.0, help="Seconds to wait until the extension is there.")
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=1, help="Events sent at a time; their order is lost."
)
@click.option("--redeliver", is_flag=True, help="Send every event twice.")
@click.option("--basic", metavar="USER", help="Password: STEADYBIT_AGENT_BASIC_PASSWORD, or _FILE, or a prompt.")
@click.option("--client-cert", metavar="FILE", help="PEM file with the agent's certificate.")
@click.option("--client-key", metavar="FILE", help="PEM file with its key, unless that is in the same file.")
@click.option("--ca", metavar="FILE", help="PEM file with certificates to trust instead of the system's.")
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
def agent(**options: Any) -> None:
    """Play a Steadybit agent against the extension at URL (http, https or unix:/path).

    Asks the extension which events it wants, sends them as an agent would, and tells what came of it. The exit code is
    0 when everything was accepted, and 1 when not.
    """
    from extension_kit.agent.command import run

    sys.exit(run(**options))


@commands.group()
def deliveries() -> None:
    """Look at deliveries; try dead letters again, or throw them away."""


def _filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which deliveries are meant."""
    for option in (
        click.option("--before", type=click.DateTime(), help="Created before this time."),
        click.option("--after", type=click.DateTime(), help="Created after this time."),
        click.option("--event-id", help="The id of the event."),
        click.option("--event", "event_name", help="The name of the event."),
        click.option("--listener", help="What the listener's key begins with."),
    ):
        command = option(command)
    return command


def _deliveries() -> "DeliveryCommands":
    from extension_kit.delivery_commands import DeliveryCommands
    from extension_kit.settings import Settings

    return DeliveryCommands(Settings.from_environment())


def _filter(**wanted: Any) -> "Filter":
    from extension_kit.deliveries.replay import Filter

    for name in ("before", "after"):
        if wanted.get(name):
            wanted[name] = wanted[name].astimezone()
    return Filter(**wanted)


@deliveries.command("list")
@click.option("--status", type=click.Choice(["waiting", "delivered", "dead", "discarded"]))
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@_filtered
def list_deliveries(limit: int, **wanted: Any) -> None:
    """List deliveries, oldest first."""
    _deliveries().list(_filter(**wanted), limit)


@deliveries.command()
@click.argument("ref", type=int, metavar="DELIVERY")
def show(ref: int) -> None:
    """Show one delivery and its attempts."""
    _deliveries().show(ref)


@deliveries.command()
@click.argument("refs", nargs=-1, type=int, metavar="[DELIVERY]...")
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@_filtered
def replay(refs: tuple[int, ...], everything: bool, **wanted: Any) -> None:
    """Try dead letters again, by number or by filter."""
    _require_choice(refs, everything, wanted)
    _deliveries().replay(_filter(refs=refs, status="dead", **wanted))


@deliveries.command()
@click.argument("refs", nargs=-1, type=int, metavar="[DELIVERY]...")
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@_filtered
def discard(refs: tuple[int, ...], everything: bool, **wanted: Any) -> None:
    """Throw dead letters away, by number or by filter."""
    _require_choice(refs, everything, wanted)
    _deliveries().discard(_filter(refs=refs, status="dead", **wanted))


def _require_choice(refs: tuple[int, ...], everything: bool, wanted: dict[str, Any]) -> None:
    if not refs and not everything and not any(wanted.values()):
        raise click.UsageError("say which: numbers, a filter, or --all")


@deliveries.command()
def rebuild() -> None:
    """Fill the engine's queue anew from the tables. Stop all workers before."""
    _deliveries().rebuild()


@commands.group()
def db() -> None:
    """Make, upgrade, look at and copy the database of durable listeners."""


@db.command("upgrade")
def db_upgrade() -> None:
    """Make the tables, or bring them up to date. With SQLite, `serve` does it by itself."""
    from extension_kit.database_commands import upgrade_database
    from extension_kit.settings import Settings

    with _failures_exit_with_1():
        upgrade_database(Settings.from_environment().database_url)


@db.command("status")
def db_status() -> None:
    """Say whether the database can be used, and what is in it."""
    from extension_kit.database_commands import show_status
    from extension_kit.settings import Settings

    with _failures_exit_with_1():
        show_status(Settings.from_environment().database_url)


@db.command("copy")
@click.argument("from_url")
@click.argument("to_url")
def db_copy(from_url: str, to_url: str) -> None:
    """Copy everything to an empty database, from SQLite to PostgreSQL or back.

    Stop the extension first: what comes in meanwhile is not copied. Passwords may be left out of the URLs and given as
    PGPASSWORD, because everybody on a machine can read its command lines.
    """
    from extension_kit.database_commands import copy_database

    with _failures_exit_with_1():
        copy_database(from_url, to_url)


@contextmanager
def _failures_exit_with_1() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise click.ClickException(str(error)) from None


def main() -> None:
    """Run the command line; a configuration error is one line on stderr and exit code 2."""
    try:
        commands()
    except (ConfigurationError, StoreError) as error:
        click.echo(f"extension-kit: {error}", err=True)
        sys.exit(2)
