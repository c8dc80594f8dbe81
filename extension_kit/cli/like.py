"""Copies of an extension for another one that is to begin with it: its files under the new name."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import metadata
from importlib.util import find_spec
from pathlib import Path

from extension_kit.errors import ConfigurationError
from extension_kit.loading import is_target, load_extensions

_READY_MADE = Path("extensions")  # in a checkout, and in the image
_LEFT_OUT = {"README.md", "demo.sh", "requirements.txt"}
_OF_THE_CHECKOUT = re.compile(r"`make |\bextensions/|\]\(\.\./")
_MARKERS = re.compile(r"<!-- /?settings -->\n?")


@dataclass(frozen=True)
class Copy:
    """The copy of an extension.

    Attributes:
        files: text by path, below the folder of the new extension.
        readme: the text about it, without the parts that only a checkout of extension-kit has.
        extra: the extra of extension-kit that it needs; empty if there is none.
    """

    files: dict[str, str]
    readme: str
    extra: str


def copy_extension(like: str, name: str, module: str) -> Copy:
    """Copy an extension under another name.

    Args:
        like: the name of a folder in ``extensions/``, or a file, folder or module as ``serve`` takes it.
        name: name of the new extension, such as ``extension-oncall``.
        module: name of its module.

    Raises:
        ConfigurationError: there is no such extension, it has an event protocol, or its files cannot be read.
    """
    folder = _READY_MADE / like
    target = str(folder) if (folder / "__init__.py").exists() and not Path(like).exists() else like
    if not is_target(target):
        there = ", ".join(_simple_extensions())
        known = f"there are {there}" if there else "run this in a checkout of extension-kit, or in its image"
        raise ConfigurationError(f"there is no extension {like!r} to begin with: {known}, or name a file or folder")
    speaks_protocol = ConfigurationError(
        f"{like} has an event protocol, with routes and tables of its own, which a copy would share: --like is for "
        "extensions of functions"
    )
    if target != like and like not in _simple_extensions():
        raise speaks_protocol  # before its extra would be missed
    loaded = load_extensions([target])
    if any(extension.protocols for extension in loaded):
        raise speaks_protocol
    if len(loaded) > 1:
        raise ConfigurationError(f"{like} has {len(loaded)} extensions: --like is for files with one")
    source = _path_of(target)
    rename = _Rename(source.stem, loaded[0].name, name, module)
    try:
        files = {file: path.read_text(encoding="utf-8") for file, path in _files(source)}
        readme = source / "README.md"
        about = readme.read_text(encoding="utf-8") if readme.exists() else ""
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{like} cannot be copied: {error}") from None
    extras = metadata("extension-kit").get_all("Provides-Extra") or ()
    return Copy(
        {rename.in_name(file): rename.in_file(file, text) for file, text in files.items()},
        _own_paragraphs(rename.in_text(about), name, module),
        source.stem if source.parent.name == _READY_MADE.name and source.stem in extras else "",
    )


def _simple_extensions() -> list[str]:
    """Return the names of the extensions in ``extensions/`` that have no event protocol."""
    inits = sorted(_READY_MADE.glob("*/__init__.py"))
    return [file.parent.name for file in inits if "add_protocol" not in file.read_text(encoding="utf-8")]


def _path_of(target: str) -> Path:
    """Return the folder of a package, or the file of a module."""
    path = Path(target)
    if not path.exists():
        spec = find_spec(target)
        path = Path(spec.origin if spec and spec.origin else target)
        path = path.parent if path.name == "__init__.py" else path
    return path.resolve()


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    if source.is_file():
        yield "__init__.py", source
        if (test := source.with_name(f"test_{source.name}")).exists():
            yield test.name, test
        return
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.is_file() and path.name not in _LEFT_OUT and not any(part.startswith((".", "__pyc")) for part in parts):
            yield "/".join(parts), path


def _own_paragraphs(readme: str, name: str, module: str) -> str:
    """Return a README under its new title, its links to files beside it changed."""
    kept: list[str] = []
    for paragraph in re.split(r"\n{2,}", _MARKERS.sub("", readme.partition("\n")[2]).strip()):
        if not _OF_THE_CHECKOUT.search(paragraph):
            kept.append(paragraph)
        elif kept and kept[-1].endswith(":"):  # its last sentence introduced this one
            before, end, _ = kept.pop().rpartition(". ")
            kept += [before + end.rstrip()] if end else []
    return re.sub(r"\]\((?!#|\w+:)", f"]({module}/", "\n\n".join([f"# {name}", *kept])) + "\n"


class _Rename:
    """Changes of texts: the names of an extension, its module, its variables and its class of settings."""

    def __init__(self, old_module: str, old_name: str, name: str, module: str) -> None:
        self._old_module, self._module = old_module, module
        old_paths, path = old_module.replace("_", "-"), module.replace("_", "-")
        self._changes = [
            (rf"\bfrom extensions import {old_module}\b", f"import {module}"),
            (rf"\bextensions[./]{old_module}\b", module),
            (rf"\b{re.escape(old_name)}\b", name),
            (rf"\bEXTENSION_{old_module.upper()}(?=_|\b)", f"EXTENSION_{module.upper()}"),
            (rf"/events/{old_paths}\b", f"/events/{path}"),
            (rf"\b{_camel_case(old_module)}Settings\b", f"{_camel_case(module)}Settings"),
        ]

    def in_name(self, file: str) -> str:
        """Return the path of a file of the copy."""
        return file.replace(f"test_{self._old_module}.py", f"test_{self._module}.py")

    def in_file(self, file: str, text: str) -> str:
        """Return the text of a file; in Python, the names of the imported module are changed, too."""
        imports = re.search(rf"^(from extensions )?import {self._old_module}$", text, re.MULTILINE)
        return self.in_text(self._names_changed(text) if file.endswith(".py") and imports else text)

    def in_text(self, text: str) -> str:
        """Return any text."""
        for pattern, new in self._changes:
            text = re.sub(pattern, new, text)
        return text

    def _names_changed(self, text: str) -> str:
        lines = [line.encode() for line in text.splitlines(keepends=True)]  # offsets of syntax trees are in bytes
        old = self._old_module.encode()
        uses = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name) and node.id == old.decode()]
        for node in sorted(uses, key=lambda node: (node.lineno, node.col_offset), reverse=True):
            line, start = lines[node.lineno - 1], node.col_offset
            lines[node.lineno - 1] = line[:start] + self._module.encode() + line[start + len(old) :]
        return re.sub(rf"(?m)^import {self._old_module}$", f"import {self._module}", b"".join(lines).decode())


def _camel_case(module: str) -> str:
    return "".join(word.capitalize() for word in module.split("_"))
