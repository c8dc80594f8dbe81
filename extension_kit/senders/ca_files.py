"""CA files: TLS contexts for targets that name a file of authorities, made anew when the file is renewed."""

import os
import ssl
import stat
import threading
from collections import OrderedDict
from typing import NamedTuple

from extension_kit.errors import ConfigurationError, ExtensionKitError

FOLDER_VARIABLE = "EXTENSION_DELIVERY_CA_FOLDER"

_CONTEXTS = 64  # kept; a context with the authorities of a whole system takes a megabyte
_MOST_BYTES = 4 * 1024**2

_OUTSIDE = f"A file in the folder that {FOLDER_VARIABLE} names is needed."
_UNREADABLE = "The file is not there, or cannot be read."
_NO_CERTIFICATES = "A PEM file of certificates is needed."


class CaFileError(ExtensionKitError):
    """The authorities of a target cannot be used; the message says why, without the file's name or content."""


class _Kept(NamedTuple):
    version: tuple[str, int, int, int]
    context: ssl.SSLContext


class CaFiles:
    """TLS contexts by the name of their CA file; may be used from several threads.

    Only files in one folder can be named, and links lead nowhere else: subscriptions come from people who must not
    have other files read, nor learn which there are.

    Args:
        folder: path of the folder; None: no file can be named.

    Raises:
        ConfigurationError: the folder does not exist.
    """

    def __init__(self, folder: str | None) -> None:
        if folder and not os.path.isdir(folder):
            raise ConfigurationError(f'{FOLDER_VARIABLE}: "{folder}" is not a folder')
        self._folder = folder
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def context(self, name: str) -> ssl.SSLContext:
        """Return the context that trusts the authorities of a file only: the same one until the file changes.

        Args:
            name: path of the file, absolute or from the folder.

        Raises:
            CaFileError: the file is not in the folder, or holds no certificates.
        """
        path = self._path(name)
        try:
            version = _version(path, os.stat(path))
            with self._lock:
                if (kept := self._kept.get(name)) and kept.version == version:
                    self._kept.move_to_end(name)
                    return kept.context
            version, content = _read(path)
        except OSError:
            raise CaFileError(_UNREADABLE) from None
        context = _trusting(content)
        with self._lock:
            self._kept[name] = _Kept(version, context)
            self._kept.move_to_end(name)
            while len(self._kept) > _CONTEXTS:
                self._kept.popitem(last=False)
        return context

    def _path(self, name: str) -> str:
        if not self._folder:
            raise CaFileError(_OUTSIDE)
        try:
            folder = os.path.realpath(self._folder)
            path = os.path.realpath(os.path.join(folder, name))
        except (OSError, ValueError):  # a name that no file can have
            raise CaFileError(_OUTSIDE) from None
        if not path.startswith(os.path.join(folder, "")):
            raise CaFileError(_OUTSIDE)
        return path


def _version(path: str, status: os.stat_result) -> tuple[str, int, int, int]:
    """Return values that change when the file is rewritten, replaced or linked to another one."""
    return path, status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: str) -> tuple[tuple[str, int, int, int], bytes]:
    # Without waiting for the writer of a pipe; and links have been followed already.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise CaFileError(_NO_CERTIFICATES)
        with open(number, "rb", closefd=False) as file:
            return _version(path, status), file.read(_MOST_BYTES)
    finally:
        os.close(number)


def _trusting(content: bytes) -> ssl.SSLContext:
    text = content.decode("ascii", "replace").replace("\ufffd", "?")  # in comments
    if not text:  # for which the authorities of the system would be trusted
        raise CaFileError(_NO_CERTIFICATES)
    try:
        return ssl.create_default_context(cadata=text)
    except ssl.SSLError:
        raise CaFileError(_NO_CERTIFICATES) from None
