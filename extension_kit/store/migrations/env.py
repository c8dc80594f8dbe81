"""Run by Alembic, which ``extension_kit.store.migrate`` hands the connection to migrate over."""

from alembic import context

from extension_kit.store.version import TABLE

context.configure(connection=context.config.attributes["connection"], version_table=TABLE)
context.run_migrations()
