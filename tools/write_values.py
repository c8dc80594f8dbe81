"""Write the table of values in the chart's README from the comments in values.yaml: ``make values``.

A comment ``# -- text`` describes the key on the next line that is no comment; ``# @default -- text`` describes its
default, if the value itself would not fit.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent.parent / "helm" / "extension"
BEGIN, END = "<!-- values -->", "<!-- /values -->"


def described(values: str) -> Iterator[tuple[str, str, str]]:
    """Yield each described key: with its parents, its description, and the text for its default, which may be empty."""
    parents: list[tuple[int, str]] = []
    description = default = ""
    for line in values.splitlines():
        if match := re.match(r" *# -- (.+)", line):
            description = match[1]
        elif match := re.match(r" *# @default -- (.+)", line):
            default = match[1]
        elif match := re.match(r"( *)(\w+):", line):
            indent, key = len(match[1]), match[2]
            parents = [*(parent for parent in parents if parent[0] < indent), (indent, key)]
            if description:
                yield ".".join(name for _, name in parents), description, default
            description = default = ""


def table(values: str) -> str:
    """Return the table of all described keys, in the order of the file.

    Raises:
        KeyError: a described key is not in the YAML document.
    """
    everything = yaml.safe_load(values)
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for key, description, default in described(values):
        rows.append(f"| `{key}` | {default or _shown(_at(everything, key))} | {description} |")
    return "\n".join(rows)


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _shown(value: Any) -> str:
    return "" if value in ("", None) else f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


def with_table(readme: str, values: str) -> str:
    """Return the README's text with its table renewed.

    Raises:
        ValueError: the text does not have exactly one table.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest:
        raise ValueError(f"one {BEGIN} followed by one {END} is needed")
    return f"{before}{BEGIN}\n{table(values)}\n{END}{after}"


if __name__ == "__main__":
    readme = CHART / "README.md"
    text = with_table(readme.read_text(encoding="utf-8"), (CHART / "values.yaml").read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8")
