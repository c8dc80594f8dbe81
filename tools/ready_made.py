"""Event protocols of the ready-made extensions, which the other tools write documents and tables for."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from extension_kit import Extension
from extension_kit.protocol import EventProtocol

ROOT = Path(__file__).parent.parent


class ReadyMade(NamedTuple):
    """An event protocol, and the name of the folder of its extension in ``extensions/``."""

    folder: str
    protocol: EventProtocol[Any]


def protocols() -> Iterator[ReadyMade]:
    """Import the extension of each folder of ``extensions/``, and yield its event protocols."""
    for package in sorted((ROOT / "extensions").glob("*/__init__.py")):
        folder = package.parent.name
        module = import_module(f"extensions.{folder}")
        for extension in [value for value in vars(module).values() if isinstance(value, Extension)]:
            yield from (ReadyMade(folder, protocol) for protocol in extension.protocols)
