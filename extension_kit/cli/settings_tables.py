"""Tables of settings on the command line: for the width of a terminal, or in Markdown, as in a README."""

from collections.abc import Sequence
from itertools import groupby

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from extension_kit.loading import load_extensions
from extension_kit.runtime.contract import settings_classes
from extension_kit.settings.kit import Settings
from extension_kit.settings.readme_table import Row, markdown_lines, settings_table

_TEXT_WIDTH = 120  # where the output is no terminal


def write_settings(targets: Sequence[str], form: str | None) -> None:
    """Print the settings of extensions, or of the kit if there is no target.

    Args:
        targets: as for ``load_extensions``.
        form: ``text``, ``markdown``, or None for text on a terminal and Markdown elsewhere.

    Raises:
        HandlerFileError: a target cannot be loaded.
    """
    console = Console()
    if not console.is_terminal:
        console.width = _TEXT_WIDTH
    as_text = form == "text" or (form is None and console.is_terminal)
    found = [(each.name, settings_table(*settings_classes(each))) for each in load_extensions(targets)]
    tables = found or [("extension-kit", settings_table(Settings))]
    for place, (name, rows) in enumerate(tables):
        if place:
            click.echo()
        if len(tables) > 1:
            click.echo(f"{name}\n" if as_text else f"## {name}\n")
        if not rows:
            click.echo(f"{name} has no settings of its own.")
        elif as_text:
            _write_text(console, rows)
        else:
            click.echo("\n".join(markdown_lines(rows)).rstrip())


def _write_text(console: Console, rows: Sequence[Row]) -> None:
    for title, of_section in groupby(rows, key=lambda row: row.section):
        table = Table(box=box.SIMPLE, show_edge=False, title=title or None, title_justify="left")
        table.add_column("variable", no_wrap=True)
        for name in ("default", *(["acts in"] if title else []), "meaning"):
            table.add_column(name, overflow="fold")
        for row in of_section:
            cells = [row.variable, row.default, *([row.acts_in] if title else []), row.meaning]
            table.add_row(*map(Text, cells))
        console.print(table)
