"""Which version of the tables a database has, and which this release needs."""

from extension_kit.errors import NewerSchema, OlderSchema

TABLE = "extension_kit_version"
"""Where the version is written down; under a name of its own, as other software may share the database."""

LATEST = "0001"
"""The newest version, which is the newest file in ``migrations/versions``."""


def check(version: str | None, database: str) -> None:
    """Refuse other versions than the latest.

    Args:
        version: what the database has; None where it has no tables.
        database: its name, for the message.

    Raises:
        OlderSchema: it has to be upgraded.
        NewerSchema: this release cannot use it.
    """
    refuse_newer(version, database)
    if version is None:
        raise OlderSchema(f"The database {database} has no tables yet: run `extension-kit db upgrade`")
    if version < LATEST:
        raise OlderSchema(
            f"The database {database} has version {version}, and {LATEST} is needed: run `extension-kit db upgrade`"
        )


def refuse_newer(version: str | None, database: str) -> None:
    """Refuse a database which a later release has upgraded.

    Raises:
        NewerSchema: it is one.
    """
    if version is not None and version > LATEST:
        raise NewerSchema(
            f"The database {database} has version {version}, and this release knows {LATEST} at most: "
            "run the release of extension-kit that upgraded it, or a later one"
        )
