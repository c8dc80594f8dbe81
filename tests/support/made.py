"""Databases of SQLite with tables, copied from one that was made before: migrations take longer than most tests."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import make_url

from extension_kit.store.database import Database
from extension_kit.store.extension_tables import Tables
from extension_kit.store.migrate import upgrade
from tests.support.leftovers import own_directory

_made: dict[tuple[tuple[str, Path], ...], Path] = {}


def make_sqlite(url: str, tables: Sequence[Tables] = ()) -> None:
    """Make the database of a URL with the kit's tables and those of extensions, unless its file exists."""
    file = Path(make_url(url).database or "")
    if file.exists():
        return
    kind = tuple((each.name, each.versions) for each in tables)
    if kind not in _made:
        made = Path(tempfile.mkdtemp(prefix="sqlite", dir=own_directory())) / "extension.db"
        database = Database(f"sqlite:///{made}")
        try:
            upgrade(database, tables)
        finally:
            database.dispose()
        _made[kind] = made
    shutil.copyfile(_made[kind], file)
