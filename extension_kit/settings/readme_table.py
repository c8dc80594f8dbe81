"""Settings table for a README, generated from the declarations."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from extension_kit.settings.declare import Declaration, declarations
from extension_kit.settings.kit import Settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_TABLE_BEGIN, _TABLE_END = "<!-- settings -->", "<!-- /settings -->"


def settings_table(cls: type[DataclassInstance] = Settings) -> list[tuple[str, str, str]]:
    """Return (environment variable, default as written in the shell, meaning) of each setting, as declared."""
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    return [
        (declaration.variable, _written(defaults[name]), _explained(declaration))
        for name, declaration in declarations(cls)
    ]


def _written(default: object) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def _explained(declaration: Declaration) -> str:
    allowed = declaration.kind.allowed
    return f"{declaration.meaning} Allowed: {allowed}." if allowed else declaration.meaning


def settings_markdown(cls: type[DataclassInstance] = Settings) -> str:
    """Return the table in Markdown, between two comments that mark it for ``with_settings_table``."""
    rows = (
        f"| `{variable}` | {f'`{default}`' if default else ''} | {meaning} |"
        for variable, default, meaning in settings_table(cls)
    )
    return "\n".join([_TABLE_BEGIN, "| variable | default | meaning |", "|---|---|---|", *rows, _TABLE_END])


def with_settings_table(text: str, cls: type[DataclassInstance] = Settings) -> str:
    """Return a README's text with its settings table replaced; the same text if the table was up to date.

    Raises:
        ValueError: the text does not have exactly one table.
    """
    before, begin, rest = text.partition(_TABLE_BEGIN)
    _, end, after = rest.partition(_TABLE_END)
    if not begin or not end or _TABLE_BEGIN in rest:
        raise ValueError(f"one {_TABLE_BEGIN} followed by one {_TABLE_END} is needed")
    return before + settings_markdown(cls) + after
