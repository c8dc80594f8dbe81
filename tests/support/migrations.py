"""Tables that the revisions of an extension make, beside those that it uses."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext


def differences(database, metadata):
    """Return what is different; in the database, tables whose names begin like those of the extension count."""
    prefix = min(metadata.tables).partition("_")[0] + "_"
    with database.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, parents: kind != "table" or name.startswith(prefix)},
        )
        return compare_metadata(context, metadata)
