"""The stores."""

from tests.support.stores import (
    database,
    inbox,
    postgresql,
    postgresql_url,
    sqlite,
    sqlite_url,
    url,
    used_postgresql_url,
    used_schema,
)

__all__ = [
    "database",
    "inbox",
    "postgresql",
    "postgresql_url",
    "sqlite",
    "sqlite_url",
    "url",
    "used_postgresql_url",
    "used_schema",
]
