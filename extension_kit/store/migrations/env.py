"""Run by Alembic, which ``extension_kit.store.migrate`` hands the connection to migrate over."""

from alembic import context

attributes = context.config.attributes
context.configure(connection=attributes["connection"], version_table=attributes["version_table"])
context.run_migrations()
