"""Write docs/architecture.md, the table of contents of the code: ``make architecture``."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"

_HEAD = """# The tree

Written by `make architecture` from the first line of each module; [design.md](design.md) says why it is built so.

Upper layers import lower ones only: `cli`, `worker`, then `server`, `wsgi` and `testing`, then `agent`, `apscheduler`
and `loading`, then `extension`, `protocol`, `event_log`, `web`, `runtime`, `engine`, `deliveries`, then `events`,
`senders` and `store`, then `settings` and `observability`, then `errors`.
"""


def page() -> str:
    """Make the text of the page.

    Raises:
        ValueError: a module or folder has no docstring.
    """
    return "\n".join([_HEAD, *_sections(ROOT / "extension_kit"), *_sections(ROOT / "extensions")])


def _sections(folder: Path) -> Iterator[str]:
    """Make the section of a folder, and those of the folders in it; revisions of tables and tests are left out."""
    yield f"## {folder.relative_to(ROOT)}/\n"
    package = folder / "__init__.py"
    if package.exists():
        yield f"{_head_of(package)}\n"
    modules = [path for path in sorted(folder.glob("*.py")) if path != package and not path.name.startswith("test_")]
    if modules:
        yield "| module | holds |\n|---|---|"
        yield from (f"| `{path.name}` | {_head_of(path)} |" for path in modules)
        yield ""
    for inner in sorted(folder.iterdir()):
        if (inner / "__init__.py").exists():
            yield from _sections(inner)


def _head_of(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{path.relative_to(ROOT)} does not say what it is: begin it with a docstring")
    return docstring.splitlines()[0].removesuffix(".")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
