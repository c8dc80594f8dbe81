"""Settings tables for a README, generated from the declarations: one for each section."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from extension_kit.settings.declare import Declaration, declarations

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_TABLE_BEGIN, _TABLE_END = "<!-- settings -->", "<!-- /settings -->"


class Row(NamedTuple):
    """One setting, as a README shows it."""

    section: str
    variable: str
    default: str
    """As it is written in the shell."""
    acts_in: str
    meaning: str


def settings_table(*classes: type[DataclassInstance]) -> list[Row]:
    """Return a row for each setting of some classes, as declared."""
    rows = []
    for cls in classes:
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        for name, each in declarations(cls):
            acts_in = ", ".join(each.acts_in)
            rows.append(Row(each.section, each.variable, _written(defaults[name]), acts_in, _explained(each)))
    return rows


def _written(default: object) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if type(default) is tuple:
        return ",".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _explained(declaration: Declaration) -> str:
    allowed = declaration.kind.allowed
    return f"{declaration.meaning} Allowed: {allowed}." if allowed else declaration.meaning


def markdown_lines(rows: Iterable[Row]) -> list[str]:
    """Return the lines of the tables in Markdown: one table for each section."""
    lines = []
    for title, of_section in groupby(rows, key=lambda row: row.section):
        if title:
            lines += [f"### {title}", "", "| variable | default | acts in | meaning |", "|---|---|---|---|"]
        else:
            lines += ["| variable | default | meaning |", "|---|---|---|"]
        for row in of_section:
            default = row.default.replace("\n", "\\n").replace("|", "\\|")
            cells = [f"`{row.variable}`", f"`{default}`" if default else ""]
            lines.append(f"| {' | '.join([*cells, *([row.acts_in] if title else []), row.meaning])} |")
        lines += [""] if title else []
    return lines


def settings_markdown(*classes: type[DataclassInstance]) -> str:
    """Return the tables in Markdown, between two comments that mark them for ``with_settings_table``."""
    return "\n".join([_TABLE_BEGIN, *markdown_lines(settings_table(*classes)), _TABLE_END])


def with_settings_table(text: str, *classes: type[DataclassInstance]) -> str:
    """Return a README's text with its settings tables replaced; the same text if they were up to date.

    Raises:
        ValueError: the text does not have exactly one place for them.
    """
    before, begin, rest = text.partition(_TABLE_BEGIN)
    _, end, after = rest.partition(_TABLE_END)
    if not begin or not end or _TABLE_BEGIN in rest:
        raise ValueError(f"one {_TABLE_BEGIN} followed by one {_TABLE_END} is needed")
    return before + settings_markdown(*classes) + after
