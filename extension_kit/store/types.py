"""Column types, encoding of times and naming of constraints, for both stores."""

from datetime import UTC, datetime

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, MetaData, TypeDecorator

NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""Type of keys that the database generates: SQLite does so for INTEGER only."""


def new_metadata() -> MetaData:
    """Return a new ``MetaData`` in which every constraint gets a name."""
    return MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: aware, and read in UTC, also on SQLite, where offsets are not stored.

    Raises:
        ValueError: a time without an offset is written.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"{value} has no offset from UTC")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


DriverTime = str | datetime | None
"""A time as a driver gets it."""


def driver_time(time: datetime, *, is_sqlite: bool) -> DriverTime:
    """Encode an aware time for a statement that goes to the driver, past SQLAlchemy, as ``UtcDateTime`` does.

    SQLite gets a text in SQLAlchemy's format. A time that is in year 0 or 10000 in UTC becomes None.
    """
    utc = time
    if time.tzinfo is not UTC:
        try:
            utc = time.astimezone(UTC)
        except OverflowError:
            return None
    if not is_sqlite:
        return utc
    text = str(utc)  # faster than isoformat, but without a fraction of 0
    return text[:26] if utc.microsecond else f"{text[:19]}.000000"


def from_driver_time(found: str | datetime) -> datetime:
    """Return a time that a statement past SQLAlchemy has read, aware and in UTC, as ``UtcDateTime`` does."""
    if isinstance(found, str):
        return datetime.fromisoformat(found).replace(tzinfo=UTC)
    return found.astimezone(UTC)
