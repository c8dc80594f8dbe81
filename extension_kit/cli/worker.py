"""Command ``worker``: a delivery worker without a server."""

import sys

import click


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="FILE_OR_MODULE...")
@click.option("--supervisor", type=int, hidden=True)
@click.option("--liveness-pipe", type=int, hidden=True)
def worker(targets: tuple[str, ...], supervisor: int | None, liveness_pipe: int | None) -> None:
    """Make the deliveries of durable listeners. With PostgreSQL, run any number of workers on any machine."""
    from extension_kit.settings.kit import Settings
    from extension_kit.worker import work

    sys.exit(work(targets, Settings.from_environment(), supervisor=supervisor, liveness_pipe=liveness_pipe))
