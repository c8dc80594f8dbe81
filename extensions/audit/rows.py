"""Rows: a table of a database, with a row for each event."""

from hashlib import sha256
from typing import Any

import orjson
from sqlalchemy import (
    Column,
    DateTime,
    Engine,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    exists,
    insert,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from extension_kit import Event, SettingError

from .records import record_of

_SECONDS = 15
_CHARACTERS = 255

TABLE = Table(
    "audit_events",
    MetaData(),
    Column("key", String(64), primary_key=True),  # SHA-256 of source and id, which have no longest length
    Column("id", Text, nullable=False),
    Column("name", String(_CHARACTERS), nullable=False),
    Column("source", String(_CHARACTERS), nullable=False),
    Column("time", DateTime(timezone=True)),
    Column("subject", String(_CHARACTERS)),
    Column("tenant", String(_CHARACTERS)),
    Column("team", String(_CHARACTERS)),
    Column("principal", String(_CHARACTERS)),
    Column("body", Text().with_variant(LONGTEXT(), "mysql", "mariadb"), nullable=False),  # else 64 KB there
)


class AuditDatabaseError(Exception):
    """The database did not take an event; another attempt may succeed. The message has no password."""


class RowTarget:
    """The table ``audit_events`` of a database, made if it is missing.

    Args:
        engine: of the database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._has_table = False

    @classmethod
    def of(cls, url: str) -> "RowTarget":
        """Make the target of a URL of SQLAlchemy; the driver of PostgreSQL is psycopg.

        Raises:
            SettingError: there is no such kind of database, or its driver is not installed.
        """
        try:
            parsed = make_url(url)
            if parsed.drivername in ("postgres", "postgresql"):
                parsed = parsed.set(drivername="postgresql+psycopg")
            waits = {"connect_timeout": _SECONDS} if parsed.get_backend_name() in ("postgresql", "mysql") else {}
            engine = create_engine(
                parsed, connect_args=waits, pool_size=2, max_overflow=0, pool_timeout=_SECONDS, pool_pre_ping=True
            )
        except ImportError as error:
            raise SettingError(f"EXTENSION_AUDIT_TARGET cannot be used: {error.name} is not installed") from None
        except (ArgumentError, NoSuchModuleError, ValueError):
            raise SettingError(
                "EXTENSION_AUDIT_TARGET cannot be used: write file:///FOLDER, s3://BUCKET/PREFIX, "
                "postgresql://USER:PASSWORD@HOST/DATABASE, sqlite:///FILE or another URL of SQLAlchemy"
            ) from None
        return cls(engine)

    def keep(self, event: Event) -> None:
        """Insert the row of an event, unless it is there.

        Raises:
            AuditDatabaseError: the database cannot be used.
        """
        row = _row(event)
        try:
            self._make_table()
            with self._engine.begin() as connection:
                if self._engine.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL statement_timeout = '{_SECONDS}s'"))
                if not connection.execute(select(exists().where(TABLE.c.key == row["key"]))).scalar():
                    connection.execute(insert(TABLE), row)
        except IntegrityError:
            pass  # another attempt was faster
        except SQLAlchemyError as error:
            raise AuditDatabaseError(self._reason(error)) from None

    def problem(self) -> str | None:
        """Return the reason for which the database cannot be used; None if it can."""
        try:
            self._make_table()
            with self._engine.connect() as connection:
                connection.execute(select(TABLE.c.key).limit(1))
        except SQLAlchemyError as error:
            return self._reason(error)
        return None

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    def _make_table(self) -> None:
        if self._has_table:
            return
        try:
            TABLE.create(self._engine, checkfirst=True)
        except SQLAlchemyError:
            if not inspect(self._engine).has_table(TABLE.name):  # else another process was faster
                raise
        self._has_table = True

    def _reason(self, error: SQLAlchemyError) -> str:
        """Return the first line of a driver's error, without the password."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        reason = str(cause).strip().partition("\n")[0][:300]
        password = self._engine.url.password
        if password:
            reason = reason.replace(str(password), "...")
        return f"the database of EXTENSION_AUDIT_TARGET: {reason}"


def _row(event: Event) -> dict[str, Any]:
    record = record_of(event)
    body = orjson.dumps(record.pop("body")).decode()
    texts = {name: None if value is None else _storable(value) for name, value in record.items()}
    short = {name: text and text[:_CHARACTERS] for name, text in texts.items()}
    key = sha256(f"{event.source}\0{event.id}".encode(errors="replace")).hexdigest()
    return {**short, "id": texts["id"], "time": event.time, "key": key, "body": body}


def _storable(value: str) -> str:
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()
