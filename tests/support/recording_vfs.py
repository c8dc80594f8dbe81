"""SQLite's access to files, with a journal: writes, truncations, flushes and removals, in the order of their ends.

SQLite reaches files through a table of C functions, its VFS (https://www.sqlite.org/vfs.html). A copy of the default
one is registered in its place, of which the functions that change files are Python's, and call the original ones.
"""

import _sqlite3
import atexit
import ctypes
import threading
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any

from tests.support.disk_journal import Journal, Kind

_OK = 0

_Open = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_Delete = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_SetSystemCall = ctypes.CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p)
_GetSystemCall = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_char_p)
_OpenDirectory = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)
_Close = ctypes.CFUNCTYPE(c_int, c_void_p)
_Write = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = ctypes.CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = ctypes.CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(ctypes.Structure):
    """``sqlite3_vfs``, version 3."""

    _fields_ = [
        ("iVersion", c_int),
        ("szOsFile", c_int),
        ("mxPathname", c_int),
        ("pNext", c_void_p),
        ("zName", c_char_p),
        ("pAppData", c_void_p),
        ("xOpen", _Open),
        ("xDelete", _Delete),
        *((name, c_void_p) for name in ("xAccess", "xFullPathname", "xDlOpen", "xDlError", "xDlSym", "xDlClose")),
        *((name, c_void_p) for name in ("xRandomness", "xSleep", "xCurrentTime", "xGetLastError")),
        ("xCurrentTimeInt64", c_void_p),
        ("xSetSystemCall", _SetSystemCall),
        ("xGetSystemCall", _GetSystemCall),
        ("xNextSystemCall", c_void_p),
    ]


class _Methods(ctypes.Structure):
    """``sqlite3_io_methods``, version 3: the functions of an open file."""

    _fields_ = [
        ("iVersion", c_int),
        ("xClose", _Close),
        ("xRead", c_void_p),
        ("xWrite", _Write),
        ("xTruncate", _Truncate),
        ("xSync", _Sync),
        *((name, c_void_p) for name in ("xFileSize", "xLock", "xUnlock", "xCheckReservedLock", "xFileControl")),
        *((name, c_void_p) for name in ("xSectorSize", "xDeviceCharacteristics")),
        *((name, c_void_p) for name in ("xShmMap", "xShmLock", "xShmBarrier", "xShmUnmap", "xFetch", "xUnfetch")),
    ]


class _File(ctypes.Structure):
    """The beginning of ``sqlite3_file``, on which all VFSs agree."""

    _fields_ = [("pMethods", POINTER(_Methods))]


def library() -> Any:
    """Return the SQLite library that Python's module uses, or None if its functions cannot be reached from outside."""
    # A module that is part of the interpreter has no file. Symbols are looked for in the file's dependencies, too.
    found = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    return found if hasattr(found, "sqlite3_vfs_register") else None


class RecordingVfs:
    """The default VFS of this process from now on, until the interpreter ends; later changes are not in the journal.

    Args:
        journal: of all processes.
    """

    def __init__(self, journal: Journal) -> None:
        sqlite = library()
        sqlite.sqlite3_vfs_find.restype = POINTER(_Vfs)
        sqlite.sqlite3_vfs_find.argtypes = [c_char_p]
        sqlite.sqlite3_vfs_register.argtypes = [POINTER(_Vfs), c_int]
        self._sqlite = sqlite
        self._original = original = sqlite.sqlite3_vfs_find(None).contents
        self._journal = journal
        self._paths: dict[int, bytes] = {}  # of open files, by address
        self._tables: dict[int, _Methods] = {}  # by the address of the original
        self._originals: dict[int, Any] = {}  # of open files, by address
        self._thread = threading.local()  # has_opened_folder: since the thread's flush began
        # Structures copied byte by byte keep no references to Python's functions: they are kept here.
        self._kept: list[Any] = []
        self._record_folders(original)
        self._vfs = _Vfs.from_buffer_copy(original)
        self._vfs.zName = b"recording"
        self._vfs.xOpen = self._keep(_Open(self._open(original.xOpen)))
        self._vfs.xDelete = self._keep(_Delete(self._delete(original.xDelete)))
        sqlite.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)

    def end(self) -> None:
        """Give open files and new ones SQLite's own functions back."""
        self._sqlite.sqlite3_vfs_register(ctypes.byref(self._original), 1)
        self._vfs.xOpen, self._vfs.xDelete = self._original.xOpen, self._original.xDelete
        self._original.xSetSystemCall(ctypes.addressof(self._original), b"openDirectory", None)
        for file, methods in list(self._originals.items()):
            _File.from_address(file).pMethods = methods

    def _keep(self, function: Any) -> Any:
        self._kept.append(function)
        return function

    def _record_folders(self, vfs: _Vfs) -> None:
        """Notice that SQLite opens a folder: it does so to flush it, and at no other time."""
        address = ctypes.addressof(vfs)
        original = _OpenDirectory(vfs.xGetSystemCall(address, b"openDirectory"))

        def open_directory(path: int, descriptor: int) -> int:
            if (code := original(path, descriptor)) == _OK:
                self._thread.has_opened_folder = True
            return code

        function = self._keep(_OpenDirectory(open_directory))
        vfs.xSetSystemCall(address, b"openDirectory", ctypes.cast(function, c_void_p))

    def _open(self, original: Callable[..., int]) -> Callable[..., int]:
        def open_file(vfs: int, path: int | None, file: int, flags: int, flags_out: int | None) -> int:
            code = original(vfs, path, file, flags, flags_out)
            if code == _OK and path is not None:  # others are temporary
                name = ctypes.string_at(path)
                self._journal.append(Kind.OPEN, name)
                self._paths[file] = name
                opened = _File.from_address(file)
                methods = opened.pMethods.contents
                self._originals[file] = ctypes.pointer(methods)
                opened.pMethods = ctypes.pointer(self._recorded(methods))
            return code

        return open_file

    def _delete(self, original: Callable[..., int]) -> Callable[..., int]:
        def delete(vfs: int, path: int, sync_folder: int) -> int:
            if (code := original(vfs, path, sync_folder)) == _OK:
                self._journal.append(Kind.DELETE, ctypes.string_at(path))
            return code

        return delete

    def _recorded(self, original: _Methods) -> _Methods:
        """Return a table of functions that keep the journal, for files that have the original one."""
        address = ctypes.addressof(original)
        if (table := self._tables.get(address)) is None:
            table = _Methods.from_buffer_copy(original)
            table.xClose = self._keep(_Close(self._close(original.xClose)))
            table.xWrite = self._keep(_Write(self._write(original.xWrite)))
            table.xTruncate = self._keep(_Truncate(self._truncate(original.xTruncate)))
            table.xSync = self._keep(_Sync(self._sync(original.xSync)))
            self._tables[address] = table
        return table

    def _close(self, original: Callable[..., int]) -> Callable[..., int]:
        def close(file: int) -> int:
            del self._paths[file], self._originals[file]
            return original(file)

        return close

    def _write(self, original: Callable[..., int]) -> Callable[..., int]:
        def write(file: int, data: int, size: int, offset: int) -> int:
            if (code := original(file, data, size, offset)) == _OK:
                self._journal.append(Kind.WRITE, self._paths[file], offset, ctypes.string_at(data, size))
            return code

        return write

    def _truncate(self, original: Callable[..., int]) -> Callable[..., int]:
        def truncate(file: int, size: int) -> int:
            if (code := original(file, size)) == _OK:
                self._journal.append(Kind.TRUNCATE, self._paths[file], size)
            return code

        return truncate

    def _sync(self, original: Callable[..., int]) -> Callable[..., int]:
        def sync(file: int, flags: int) -> int:
            self._thread.has_opened_folder = False
            size = self._journal.size()
            if (code := original(file, flags)) == _OK:
                kind = Kind.SYNC_WITH_FOLDER if self._thread.has_opened_folder else Kind.SYNC
                self._journal.append(kind, self._paths[file], size)
            return code

        return sync


def record(path: Path) -> None:
    """Keep a journal of all that this process does to files of databases that it opens from now on."""
    vfs = RecordingVfs(Journal(path))
    # Connections that are open when the interpreter ends are closed late, and have addresses in this object.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(vfs))
    atexit.register(vfs.end)
