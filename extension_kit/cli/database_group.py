"""Groups of commands for the database of ``EXTENSION_DATABASE_URL``."""

from typing import Any

import click

from extension_kit.errors import StoreError


class DatabaseGroup(click.Group):
    """Commands for a database. If it cannot be used, they end with one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StoreError as error:
            raise click.ClickException(str(error)) from None


def database_url() -> str:
    """Read the URL from the environment.

    Raises:
        SettingError: a setting has a value that is not allowed.
    """
    from extension_kit.settings.kit import Settings

    return Settings.from_environment().database_url


def examples(*arguments: str) -> str:
    """Format the examples at the end of a help text."""
    return "\n".join(("\b", "Examples:", *(f"  extension-kit {line}" for line in arguments)))
