"""Times come back as they were, on both stores."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Column, MetaData, Table, insert, select
from sqlalchemy.exc import StatementError

from extension_kit.store.database import Database
from extension_kit.store.types import UtcDateTime

moments = Table("moments", MetaData(), Column("at", UtcDateTime))
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, UTC)


@pytest.fixture
def store(database: Database) -> Database:
    with database.transaction() as connection:
        moments.create(connection)
    return database


@pytest.mark.parametrize("at", [NOON, NOON.astimezone(timezone(timedelta(hours=5, minutes=45))), None])
def test_times_are_aware_and_in_utc(store: Database, at: datetime | None) -> None:
    with store.transaction() as connection:
        connection.execute(insert(moments).values(at=at))

    with store.read() as connection:
        found = connection.execute(select(moments.c.at)).scalar()

    assert found == at
    assert found is None or found.tzinfo is UTC


def test_times_are_compared_as_points_in_time(store: Database) -> None:
    with store.transaction() as connection:
        connection.execute(insert(moments).values(at=NOON))

    later = (NOON + timedelta(minutes=1)).astimezone(timezone(timedelta(hours=-8)))
    with store.read() as connection:
        assert connection.execute(select(moments).where(moments.c.at < later)).all()
        assert not connection.execute(select(moments).where(moments.c.at > later)).all()


def test_a_time_without_an_offset_is_refused(store: Database) -> None:
    with pytest.raises(StatementError, match="has no offset from UTC"), store.transaction() as connection:
        connection.execute(insert(moments).values(at=datetime(2026, 11, 21)))
