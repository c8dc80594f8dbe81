"""Schema version: the version of a database's tables, compared with the one this release needs."""

from extension_kit.errors import NewerSchema, OlderSchema

TABLE = "extension_kit_version"
"""Table that stores the version; its name is our own, because other software may share the database."""

LATEST = "0008"
"""The newest version: the newest file in ``migrations/versions``."""


def check(version: str | None, database: str, latest: str = LATEST, extension: str | None = None) -> None:
    """Refuse all versions but the latest.

    Args:
        version: of the database; None without tables.
        database: its name, for the message.
        latest: the version needed.
        extension: name of the extension with these tables; None: the kit's tables.

    Raises:
        OlderSchema: the database has to be upgraded.
        NewerSchema: this release cannot use the database.
    """
    refuse_newer(version, database, latest, extension)
    tables = f"no tables of {extension}" if extension else "no tables"
    if version is None:
        raise OlderSchema(f"The database {database} has {tables} yet", extension)
    if version < latest:
        version = _whose(version, extension)
        raise OlderSchema(f"The database {database} has version {version}, and {latest} is needed", extension)


def refuse_newer(version: str | None, database: str, latest: str = LATEST, extension: str | None = None) -> None:
    """Refuse a database that a later release has upgraded.

    Raises:
        NewerSchema: the database has a later version.
    """
    if version is not None and version > latest:
        raise NewerSchema(
            f"The database {database} has version {_whose(version, extension)}, and this release knows {latest} at "
            f"most: run the release of {extension or 'extension-kit'} that upgraded it, or a later one"
        )


def _whose(version: str, extension: str | None) -> str:
    return f"{version} of the tables of {extension}" if extension else version
