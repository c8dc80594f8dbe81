"""Links between the pages: files and headings exist, and every page is in the contents of the documentation."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
PAGES = [ROOT / name for name in TRACKED.stdout.splitlines()] or sorted(ROOT.glob("docs/**/*.md"))
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and the site give to the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 1
        while (unique := anchor if number == 1 else f"{anchor}-{number - 1}") in found:
            number += 1
        found.add(unique)
    return found


def links(page: Path) -> list[str]:
    """The links of a page to files and headings of the repository."""
    found = LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    broken = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_in_the_contents():
    index = ROOT / "docs" / "index.md"
    blocks = re.findall(r"```\{toctree\}\n(.*?)```", index.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith(":")]
    entries = [re.sub(r"^.*<(.*)>$", r"\1", line) for line in lines]
    listed = {path.resolve() for entry in entries for path in index.parent.glob(f"{entry}.md")}
    pages = {page for page in PAGES if page.is_relative_to(ROOT / "docs") and page != index}
    assert pages - listed == set()


def test_code_is_no_link(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` & c\n\n[a](x.md#y) `[b](z.md)` [c](https://example.com)\n\n## A\n\n## A\n\n```sh\n# no heading\n```\n"
    )
    assert links(page) == ["x.md#y"]
    assert anchors(page) == {"a-b--c", "a", "a-1"}
