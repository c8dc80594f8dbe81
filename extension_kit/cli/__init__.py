"""Command line ``extension-kit``: arguments and options of its commands. Modules with the work are imported on use."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from extension_kit.cli.database import db, deliveries
from extension_kit.errors import ConfigurationError, StoreError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="extension-kit")
def commands() -> None:
    """Write, run and try event listener extensions."""


@commands.command()
@click.argument("targets", nargs=-1, required=True, metavar="FILE_OR_MODULE...")
@click.option("--reload", is_flag=True, help="Restart when a file changes (for development).")
@click.option("--no-worker", is_flag=True, help="Leave durable listeners to `extension-kit worker` elsewhere.")
def serve(targets: tuple[str, ...], reload: bool, no_worker: bool) -> None:
    """Serve the extensions in files, folders or modules. Settings come from the environment."""
    from extension_kit.server.serve import serve as serve_targets
    from extension_kit.settings.kit import Settings

    serve_targets(targets, Settings.from_environment(), reload=reload, deliver=not no_worker)


@commands.command()
@click.argument("targets", nargs=-1, required=True, metavar="FILE_OR_MODULE...")
@click.option("--supervisor", type=int, hidden=True)
def worker(targets: tuple[str, ...], supervisor: int | None) -> None:
    """Make the deliveries of durable listeners. With PostgreSQL, run any number of workers on any machine."""
    from extension_kit.settings.kit import Settings
    from extension_kit.worker import work

    sys.exit(work(targets, Settings.from_environment(), supervisor=supervisor))


@commands.command()
@click.argument("targets", nargs=-1, required=True, metavar="FILE_OR_MODULE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of YAML.")
def openapi(targets: tuple[str, ...], as_json: bool) -> None:
    """Print the OpenAPI document of the extensions in files, folders or modules, with their paths."""
    from extension_kit.loading import load_extensions
    from extension_kit.runtime.service import Service
    from extension_kit.settings.kit import Settings
    from extension_kit.web.index import openapi_document
    from extension_kit.web.openapi import to_yaml

    # Without a database: to describe an extension is not to run it.
    document = openapi_document(Service.of(load_extensions(targets), Settings.from_environment(), durable=False))
    click.echo(json.dumps(document, indent=2) if as_json else to_yaml(document).rstrip())


@commands.command()
@click.argument("url")
@click.option("--kubernetes", "ways", flag_value="kubernetes", multiple=True, help="Annotation, labels and ports.")
@click.option("--env", "ways", flag_value="env", multiple=True, help="Environment variables of the agent.")
@click.option("--file", "ways", flag_value="file", multiple=True, help="File on the host of the agent.")
@click.option("--ecs", "ways", flag_value="ecs", multiple=True, help="Tags of the task definition.")
@click.option("--agent-api", "ways", flag_value="agent-api", multiple=True, help="Body for the agent's API.")
@click.option("--index", type=click.IntRange(min=0), default=0, show_default=True, help="Number in --env.")
@click.option("--basic", is_flag=True, help="The extension requires a user name and a password.")
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
@click.option("--unregister", metavar="AGENT_URL", help="Remove the registration from this agent.")
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
    """Print how to register the extension at URL (http, https or unix:/path), or register it at one agent."""
    from extension_kit.agent.registration import (
        Address,
        AgentRefusedError,
        Registration,
        agent_key,
        describe,
        tell_agent,
    )

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
@click.option("--directory", type=click.Path(path_type=Path), help="Directory to write to (default: ./NAME).")
def new(name: str, directory: Path | None) -> None:
    """Write a small, complete extension: handlers, test, README, Dockerfile, values for Helm."""
    from extension_kit.cli.new import write_extension

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
    help="Seconds sent as Request-Timeout.",
)
@click.option("--wait", type=click.FloatRange(min=0), default=0.0, help="Seconds to wait for the extension to start.")
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=1, help="Events sent at a time; their order is lost."
)
@click.option("--redeliver", is_flag=True, help="Send every event twice.")
@click.option(
    "--fresh-ids", is_flag=True, help="Give events new ids: an extension does not run a repeated event again."
)
@click.option("--basic", metavar="USER", help="Password: STEADYBIT_AGENT_BASIC_PASSWORD, or _FILE, or a prompt.")
@click.option("--client-cert", metavar="FILE", help="PEM file with the agent's certificate.")
@click.option("--client-key", metavar="FILE", help="PEM file with its key, unless the certificate's file has it.")
@click.option("--ca", metavar="FILE", help="PEM file with certificates to trust instead of the system's.")
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
def agent(**options: Any) -> None:
    """Play a Steadybit agent against the extension at URL (http, https or unix:/path).

    Asks the extension for its event listeners, sends events as an agent would, and reports the answers. The exit code
    is 0 if every event was accepted, and 1 if not.
    """
    from extension_kit.agent.command import run

    sys.exit(run(**options))


commands.add_command(deliveries)
commands.add_command(db)


def main() -> None:
    """Run the command line. A configuration error ends it with one line on stderr and exit code 2."""
    try:
        commands()
    except (ConfigurationError, StoreError) as error:
        click.echo(f"extension-kit: {error}", err=True)
        sys.exit(2)
