"""Pages of docs/ as their readers use them: blocks of code, the files that they are saved as, and links."""

import ast
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs/tutorial.md"
HOW_TOS = sorted((ROOT / "docs/how-to").glob("*.md"))
GUIDES = [
    TUTORIAL,
    *HOW_TOS,
    *(ROOT / "docs" / f"{name}.md" for name in ("how-it-works", "troubleshooting", "upgrading")),
]

_FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LEAST = 7  # characters of a text in the code that tell it from others
_FILE = re.compile(r"`([\w./-]+\.(?:py|yaml))`")


class Block(NamedTuple):
    """A block of code: its language, its text, and the paragraph before it."""

    language: str
    text: str
    before: str

    @property
    def file(self) -> str | None:
        """The file that the reader saves it as: the last one that the paragraph before it names."""
        named = _FILE.findall(self.before)
        return named[-1] if named and self.language in ("python", "yaml") else None


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[2], textwrap.dedent(found[3]), text[: found.start()].rstrip().rpartition("\n\n")[2])
        for found in _FENCE.finditer(text)
    ]


def files(page: Path) -> dict[str, list[str]]:
    """The files of a page by their names, each with its versions in order."""
    found: dict[str, list[str]] = {}
    for block in blocks(page):
        if block.file is not None:
            found.setdefault(block.file, []).append(block.text)
    return found


def write_files(page: Path, folder: Path) -> None:
    """Save the files of a page in a folder, each in its last version."""
    for name, versions in files(page).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(versions[-1], encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The names by which links lead to the headings of a page, as GitHub and MyST make them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """The links of a page to other pages, headings and pictures of the project."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [link for link in re.findall(r"\]\(\s*([^)\s]+)\s*\)", text) if "://" not in link]


_Template = tuple[str | None, ...]  # a text with None for each part that is filled in
_FILLED_IN = re.compile(r"%(?:\.\d)?[sdgr]")


def _templates() -> Iterator[_Template]:
    """The texts in the code of the kit and in the refusals of the chart."""
    for path in (ROOT / "extension_kit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield tuple(str(part.value) if isinstance(part, ast.Constant) else None for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                yield from _split(text)
    for text in re.findall(r'"([^"]*)"', (ROOT / "helm/extension/templates/_refusals.tpl").read_text(encoding="utf-8")):
        yield from _split(text)


def _split(text: str) -> Iterator[_Template]:
    yield tuple(None if _FILLED_IN.fullmatch(part) else part for part in re.split(f"({_FILLED_IN.pattern})", text))


@cache
def _known_templates() -> frozenset[_Template]:
    return frozenset(_templates())


def share_from_code(message: str) -> float:
    """The share of a message's characters that are texts of the code, at the places that these texts have in it."""
    covered: set[int] = set()
    for template in _known_templates():
        texts = [part for part in template if part]
        if any(message in text for text in texts):
            return 1.0
        if sum(map(len, texts)) < _LEAST or not all(text in message for text in texts):
            continue
        pattern = "".join("(.+?)" if part is None else f"({re.escape(part)})" for part in template)
        if found := re.search(pattern, message):
            places = (found.span(number) for number, part in enumerate(template, 1) if part)
            covered.update(place for span in places for place in range(*span))
    return len(covered) / len(message)
