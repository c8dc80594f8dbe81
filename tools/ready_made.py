"""The ready-made extensions and their event protocols, which the other tools write documents and tables for."""

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


def extensions() -> Iterator[tuple[str, Extension]]:
    """Import each folder of ``extensions/``, and yield its name with each extension in it."""
    for package in sorted((ROOT / "extensions").glob("*/__init__.py")):
        folder = package.parent.name
        for value in vars(import_module(f"extensions.{folder}")).values():
            if isinstance(value, Extension):
                yield folder, value


def protocols() -> Iterator[ReadyMade]:
    """Yield the event protocols of the extensions."""
    for folder, extension in extensions():
        yield from (ReadyMade(folder, protocol) for protocol in extension.protocols)
