"""Alembic's environment: migrates over the connection given by ``extension_kit.store.migrate``."""

from alembic import context

attributes = context.config.attributes
context.configure(connection=attributes["connection"], version_table=attributes["version_table"])
context.run_migrations()
