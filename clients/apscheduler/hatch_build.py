"""Build of the client: copies its modules and those they import out of the kit, into a package of their own.

The kit and this distribution have no file in common, so that both can be installed together, in any versions. Users
import ``extension_kit.apscheduler`` with either: here it is a module, in the kit a package, which comes first where
there are both (PEP 420, "Specification"). Its types are in a stub package, as the marker ``extension_kit/py.typed`` is
the kit's (PEP 561, "Partial Stub Packages").
"""

import ast
import re
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KIT = "extension_kit"
OWN = "extension_kit_apscheduler"
_CLIENT = f"{KIT}.apscheduler"
_IMPORT = re.compile(rf"^(\s*from ){KIT}(?=\.)", re.MULTILINE)
_ABOUT = (
    '"""Modules of extension-kit that its client for APScheduler needs; ``extension_kit.apscheduler`` is public."""\n'
)


class ClientBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the kit's modules to a distribution; a source distribution has them already when a wheel is built of it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the modules.

        Args:
            version: hatchling's name for the kind of a wheel.
            build_data: hatchling's description of the distribution.

        Raises:
            ValueError: a module imports the server, or the kit in a way that is not copied.
        """
        if (Path(self.root) / OWN).is_dir():
            return
        self._folder = tempfile.TemporaryDirectory()
        write_modules(Path(self.root).parents[1], Path(self._folder.name))
        build_data["force_include"][self._folder.name] = "/"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the copies."""
        if (folder := getattr(self, "_folder", None)) is not None:
            folder.cleanup()


def write_modules(checkout: Path, folder: Path) -> None:
    """Write the modules of the distribution into a folder.

    Args:
        checkout: the folder with the kit's package.
        folder: gets the folders ``extension_kit``, ``extension_kit-stubs`` and ``extension_kit_apscheduler``.

    Raises:
        ValueError: a module imports the server, or the kit in a way that is not copied.
    """
    files: dict[str, str] = {}
    _collect(checkout, _CLIENT, files)
    copies = {f"{OWN}{path.removeprefix(KIT)}": _IMPORT.sub(rf"\g<1>{OWN}", text) for path, text in files.items()}
    public = copies[f"{OWN}/apscheduler/__init__.py"]
    own = {f"{OWN}/__init__.py": _ABOUT, f"{OWN}/py.typed": "", f"{KIT}/apscheduler.py": public}
    stubs = {f"{KIT}-stubs/apscheduler.pyi": public, f"{KIT}-stubs/py.typed": "partial\n"}
    for path, text in (copies | own | stubs).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _collect(checkout: Path, module: str, files: dict[str, str]) -> None:
    """Add the text of a module, of the packages that it is in, and of all that they import of the kit."""
    folder = checkout.joinpath(*module.split("."))
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    path = file.relative_to(checkout).as_posix()
    if path in files or not file.is_file():  # the name of a class or a function
        return
    files[path] = text = file.read_text(encoding="utf-8")
    if (package := module.rpartition(".")[0]) != KIT:
        _collect(checkout, package, files)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import) and any(alias.name.partition(".")[0] == KIT for alias in node.names):
            raise ValueError(f"{path} imports {KIT} in another way than from ... import")
        if not isinstance(node, ast.ImportFrom) or (node.module or "").partition(".")[0] != KIT:
            continue
        if node.module == KIT:
            raise ValueError(f"{path} imports {KIT}, and with it the server")
        for name in (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)):
            _collect(checkout, name, files)
