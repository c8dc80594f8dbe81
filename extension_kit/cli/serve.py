"""Command ``serve``: the server."""

import click


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="FILE_OR_MODULE...")
@click.option("--reload", is_flag=True, help="Restart when a file changes (for development).")
@click.option("--no-worker", is_flag=True, help="Leave durable listeners to `extension-kit worker` elsewhere.")
def serve(targets: tuple[str, ...], reload: bool, no_worker: bool) -> None:
    """Serve the extensions in files, folders or modules. Settings come from the environment."""
    from extension_kit.server.serve import serve as serve_targets
    from extension_kit.settings.kit import Settings

    serve_targets(targets, Settings.from_environment(), reload=reload, deliver=not no_worker)
