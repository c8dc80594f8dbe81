"""Extension tables: tables of an extension in the same database, migrated by its own revisions."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import MetaData

from extension_kit.errors import ConfigurationError
from extension_kit.store.version import TABLE

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class Tables:
    """Tables of an extension.

    Args:
        name: of the extension, in small letters, digits and ``_``; the names of its tables should begin with it.
        metadata: the tables.
        versions: the folder with Alembic's revisions for the tables: ``0001_first.py`` with ``revision = "0001"`` and
            so on, each behind the one before.

    Raises:
        ConfigurationError: the name cannot be part of a table's, or there is no revision in the folder.
    """

    name: str
    metadata: MetaData
    versions: Path
    latest: str = field(init=False)
    """The newest revision."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"tables are named by up to 32 small letters, digits and _, such as 'croneye', not {self.name!r:.80}"
            )
        revisions = [path.name.partition("_")[0] for path in self.versions.glob("[0-9]*_*.py")]
        if not revisions:
            raise ConfigurationError(f"{self.name}: there is no revision such as 0001_first.py in {self.versions}")
        object.__setattr__(self, "latest", max(revisions))

    @property
    def version_table(self) -> str:
        """Name of the table that stores their version."""
        return f"{TABLE}_{self.name}"
