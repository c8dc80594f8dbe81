"""Command ``event-log``: the page where people see events and deliveries."""

import os

import click

_NICENESS = 10  # of an event log beside a server, which has the first turn at the CPUs


@click.command("event-log")
@click.argument("targets", nargs=-1, metavar="[FILE_OR_MODULE]...")
@click.option("--supervisor", type=int, hidden=True)
@click.option("--sockets", default="", hidden=True)
@click.option("--liveness-pipe", type=int, hidden=True)
def event_log(targets: tuple[str, ...], supervisor: int | None, sockets: str, liveness_pipe: int | None) -> None:
    """Serve the event log: events, their deliveries, and what can be done about them, for a browser.

    It reads the database of EXTENSION_DATABASE_URL. With the files or modules of the extensions, it also knows their
    functions.
    """
    if supervisor is not None:
        os.nice(_NICENESS)  # before the modules are imported, which takes most of the start
    from extension_kit.server.event_log_server import serve_event_log
    from extension_kit.settings.kit import Settings

    numbers = [int(number) for number in sockets.split(",") if number]
    serve_event_log(
        targets, Settings.from_environment(), supervisor=supervisor, sockets=numbers, liveness_pipe=liveness_pipe
    )
