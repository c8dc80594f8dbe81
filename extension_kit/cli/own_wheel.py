"""Wheel of the installed kit, for new extensions: pip cannot install a version that is on no index."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

_PACKAGE = Path(__file__).parents[1]
_TAG = "py3-none-any"
_WHEEL = f"Wheel-Version: 1.0\nGenerator: extension-kit\nRoot-Is-Purelib: true\nTag: {_TAG}\n"
_METADATA = ("METADATA", "entry_points.txt", "licenses/LICENSE")


def is_from_index(kit: Distribution) -> bool:
    """Return True if the kit was installed from an index, so that pip can install it elsewhere.

    An installation from a checkout, an archive or a repository has a file ``direct_url.json`` (PEP 610).
    """
    return kit.read_text("direct_url.json") is None


def wheel_name(kit: Distribution) -> str:
    """Return the wheel's file name."""
    return f"extension_kit-{kit.version}-{_TAG}.whl"


def write_wheel(directory: Path) -> None:
    """Write the kit's wheel into a directory: the same bytes for the same files (PEP 427).

    Raises:
        OSError: the wheel cannot be written.
    """
    kit = distribution("extension-kit")
    records = []
    info = f"extension_kit-{kit.version}.dist-info"
    with ZipFile(directory / wheel_name(kit), "w", ZIP_DEFLATED) as wheel:
        for name, content in _files(kit, info):
            wheel.writestr(_entry(name), content)
            digest = urlsafe_b64encode(sha256(content).digest()).rstrip(b"=").decode()
            records.append(f"{name},sha256={digest},{len(content)}\n")
        wheel.writestr(_entry(f"{info}/RECORD"), "".join([*records, f"{info}/RECORD,,\n"]))


def _files(kit: Distribution, info: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted(_PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield str(path.relative_to(_PACKAGE.parent)), path.read_bytes()
    for name in _METADATA:
        if text := kit.read_text(name):
            yield f"{info}/{name}", text.encode()
    yield f"{info}/WHEEL", _WHEEL.encode()


def _entry(name: str) -> ZipInfo:
    entry = ZipInfo(name)  # without the time, so that every build gives the same bytes
    entry.external_attr = 0o644 << 16
    entry.compress_type = ZIP_DEFLATED
    return entry
