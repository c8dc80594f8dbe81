"""Command line ``extension-kit``: a module for each command, which imports what does the work on use."""

import sys

import click

from extension_kit.cli import (
    agent,
    db,
    deliveries,
    event_log,
    extension_commands,
    new,
    openapi,
    receivers,
    registration,
    serve,
    settings,
    worker,
)
from extension_kit.errors import ConfigurationError, StoreError

_LOGGING = ("serve", "worker", "event-log")  # commands that write a log


class _CommandLine(click.Group):
    """Commands of the kit, and those of extensions, which are imported when they are named."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or extension_commands.find(cmd_name)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        extension_commands.write_help(formatter)


@click.group(cls=_CommandLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="extension-kit")
def commands() -> None:
    """Write, run and try event listener extensions."""


commands.add_command(serve.serve)
commands.add_command(worker.worker)
commands.add_command(openapi.openapi)
commands.add_command(registration.registration)
commands.add_command(settings.settings)
commands.add_command(new.new)
commands.add_command(agent.agent)
commands.add_command(deliveries.deliveries)
commands.add_command(event_log.event_log)
commands.add_command(receivers.receivers)
commands.add_command(db.db)


def main() -> None:
    """Run the command line. A configuration error ends it with one line on stderr and exit code 2.

    Of a command that writes a log, the line has the format of the log.
    """
    try:
        commands()
    except (ConfigurationError, StoreError) as error:
        line = f"extension-kit: {error}"
        if any(word in _LOGGING for word in sys.argv[1:2]):
            from extension_kit.observability.logs import fatal_line

            line = fatal_line(str(error))
        click.echo(line, err=True)
        sys.exit(2)
