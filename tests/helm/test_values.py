"""What the chart says about its values is so: the table, the schema and the version."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.write_values import BEGIN, END, described, table, with_table

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/extension"
TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")
VALUES = yaml.safe_load(TEXT)
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


KEYS = list(leaves(VALUES))


def test_the_table_of_values_is_fresh():
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    assert with_table(readme, TEXT) == readme, "run: make values"


@pytest.mark.parametrize("key", KEYS)
def test_every_value_is_described(key):
    keys = {found for found, _, _ in described(TEXT)}
    parents = [key.rsplit(".", level)[0] for level in range(key.count(".") + 1)]
    assert keys & {key, *parents}


@pytest.mark.parametrize("key", KEYS)
def test_the_schema_knows_every_value(key):
    place = SCHEMA
    for part in key.split("."):
        place = SCHEMA["definitions"][place["$ref"].rpartition("/")[2]] if "$ref" in place else place
        if "properties" not in place:
            assert place["type"] == "object"
            return
        assert place["additionalProperties"] is False
        place = place["properties"][part]


def test_the_schema_knows_nothing_else():
    assert SCHEMA["properties"].keys() - VALUES.keys() == {"global"}


def test_the_chart_installs_the_version_it_comes_with():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version


@pytest.mark.parametrize(
    ("values", "row"),
    [
        ("# -- Says it\nkey: 1\n", "| `key` | `1` | Says it |"),
        ("# -- Says it\n# Explains more.\nkey: [a, 2]\n", '| `key` | `["a", 2]` | Says it |'),
        ("a:\n  b:\n    # -- Says it\n    c: text\n", "| `a.b.c` | `text` | Says it |"),
        ("a:\n  b: 1\nc:\n  # -- Says it\n  d: null\n", "| `c.d` |  | Says it |"),
        ("# -- Says it\n# @default -- as `b`\na: {}\nb: 1\n", "| `a` | as `b` | Says it |"),
        ("# -- Says it\na:\n  b: true\n", '| `a` | `{"b": true}` | Says it |'),
    ],
)
def test_a_row_of_the_table(values, row):
    assert table(values).splitlines()[2:] == [row]


@pytest.mark.parametrize("readme", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_readme_without_one_table_is_refused(readme):
    with pytest.raises(ValueError, match="followed by one"):
        with_table(readme, TEXT)
