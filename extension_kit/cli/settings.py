"""Command ``settings``: the settings of the kit or of extensions, as tables."""

import click


@click.command()
@click.argument("targets", nargs=-1, metavar="[FILE_OR_MODULE]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown"]),
    help="How tables are written (default: text on a terminal, else markdown).",
)
def settings(targets: tuple[str, ...], form: str | None) -> None:
    """Print the settings of the extensions in files, folders or modules; without one, those of the kit.

    Each is an environment variable. None needs a value for this.
    """
    from extension_kit.cli.settings_tables import write_settings

    write_settings(targets, form)
