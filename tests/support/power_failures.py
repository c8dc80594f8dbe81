"""The files of SQLite databases as a disk may have them after a power failure, by the journal of their changes."""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.support.disk_journal import Kind, Record

_SECTOR = 512  # bytes that a disk writes whole or not at all


@dataclass
class _Contents:
    """A file, whatever its name is by now."""

    flushed: bytearray = field(default_factory=bytearray)
    changes: list[Record] = field(default_factory=list)
    """Changes that were not flushed."""


@dataclass
class _Name:
    """A name in the folder."""

    flushed: _Contents | None = None
    """The file of this name when the folder was last flushed; None: there was none."""
    changes: list[tuple[int, _Contents | None]] = field(default_factory=list)
    """Later files of this name with the ends of their records, or None for removals."""

    def current(self) -> _Contents | None:
        return self.changes[-1][1] if self.changes else self.flushed


class Disk:
    """A folder of databases on a disk that writes when it likes, but all of a file before a flush of it has ended."""

    def __init__(self) -> None:
        self._names: dict[str, _Name] = {}

    def apply(self, record: Record) -> None:
        """Apply the next record of the journal."""
        name = self._names.setdefault(record.path, _Name())
        contents = name.current()
        if contents is None:
            assert record.kind is Kind.OPEN, f"{record.path} is not there"
            name.changes.append((record.end, _Contents()))
        elif record.kind in (Kind.WRITE, Kind.TRUNCATE):
            contents.changes.append(record)
        elif record.kind in (Kind.SYNC, Kind.SYNC_WITH_FOLDER):
            for change in contents.changes:
                if change.end <= record.number:
                    _make(change, contents.flushed)
            contents.changes = [change for change in contents.changes if change.end > record.number]
        elif record.kind is Kind.DELETE:
            name.changes.append((record.end, None))
        if record.kind is Kind.SYNC_WITH_FOLDER:
            for each in self._names.values():
                while each.changes and each.changes[0][0] <= record.number:
                    _, each.flushed = each.changes.pop(0)

    def fail(self, random: Random, folder: Path) -> None:
        """Write a folder as it may be after a power failure at this moment.

        Flushed changes of a file are made. Of later ones, any sectors are, and any of those of names.
        """
        for path, name in self._names.items():
            contents = random.choice([name.flushed, *(contents for _, contents in name.changes)])
            if contents is not None:
                (folder / Path(path).name).write_bytes(_torn(contents, random))


def _torn(contents: _Contents, random: Random) -> bytes:
    file = bytearray(contents.flushed)
    share = random.choice([0.0, 0.5, 0.95, 1.0])
    for change in contents.changes:
        begin = change.number
        if change.kind is Kind.TRUNCATE:
            if random.random() < share:
                _make(change, file)
            continue
        while begin < (end := change.number + len(change.data)):
            sector_end = min(end, begin - begin % _SECTOR + _SECTOR)
            if random.random() < share:
                data = change.data[begin - change.number : sector_end - change.number]
                _make(change._replace(number=begin, data=data), file)
            begin = sector_end
    return bytes(file)


def _make(change: Record, file: bytearray) -> None:
    if change.kind is Kind.TRUNCATE:
        del file[change.number :]
    file.extend(bytes(max(change.number - len(file), 0)))
    file[change.number : change.number + len(change.data)] = change.data
