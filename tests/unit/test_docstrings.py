"""Docstrings name their subject with a noun: "Subscriptions that want an event", and not "Who wants an event"."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [
    path
    for folder in ("extension_kit", "extensions", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not path.name.startswith("test_")
]
RIDDLES = re.compile(r"\b(what|who|whose|whom|that which)\b", re.IGNORECASE)
MOST = 1.0  # of 1,000 words


def docstrings(path: Path) -> list[str]:
    """The docstrings of a module, its classes and functions, and the strings behind its attributes."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                found.append(statement.value.value)
    return [text for text in found if isinstance(text, str)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_docstring_begins_with_a_riddle(path: Path) -> None:
    assert [text for text in docstrings(path) if re.match(r"(What|Who|Whose|Whom|That which)\b", text)] == []


def test_few_words_are_riddles() -> None:
    texts = [text for path in MODULES for text in docstrings(path)]
    words = sum(len(text.split()) for text in texts)
    riddles = sum(len(RIDDLES.findall(text)) for text in texts)
    assert words > 10_000
    assert riddles / words * 1000 < MOST
