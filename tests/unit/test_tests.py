"""Test modules import helpers from modules of helpers: never from a test module or a conftest."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = re.compile(
    r"^[ \t]*(?:from[ \t]+[\w.]*\b(?:conftest|test_\w+)[ \t]+import\b|import[ \t]+\w+[\w.]*\.(?:conftest|test_\w+)).*",
    re.MULTILINE,
)


@pytest.mark.parametrize("folder", ["tests", "extensions", "benchmarks"])
def test_no_module_imports_a_test_module_or_a_conftest(folder: str) -> None:
    modules = sorted((ROOT / folder).rglob("*.py"))
    assert modules
    assert [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in modules
        for line in FORBIDDEN.findall(path.read_text(encoding="utf-8"))
    ] == []
