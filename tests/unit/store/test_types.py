"""Times come back as they were, on both stores."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Table, insert, select
from sqlalchemy.exc import StatementError

from extension_kit.store.database import Database
from extension_kit.store.types import UtcDateTime, driver_time, from_driver_time

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


@pytest.mark.parametrize(
    "at", [NOON, NOON.replace(microsecond=0), NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))]
)
def test_the_driver_is_given_times_as_sqlalchemy_gives_them(store: Database, at: datetime) -> None:
    with store.transaction() as connection:
        connection.execute(insert(moments).values(at=at))
        driver: Any = connection.connection.driver_connection
        variable = "?" if store.is_sqlite else "%s"
        given = driver_time(at, is_sqlite=store.is_sqlite)
        driver.execute(f"INSERT INTO moments (at) VALUES ({variable})", [given])
        assert connection.execute(select(moments.c.at)).scalars().all() == [at, at]
        assert connection.exec_driver_sql("SELECT count(DISTINCT at) FROM moments").scalar() == 1
        found = [from_driver_time(row[0]) for row in driver.execute("SELECT at FROM moments").fetchall()]
    assert found == [at, at]
    assert {time.tzinfo for time in found} == {UTC}


@pytest.mark.parametrize("is_sqlite", [True, False])
def test_a_time_that_no_store_can_keep_is_left_out(is_sqlite: bool) -> None:
    first = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=9)))
    assert driver_time(first, is_sqlite=is_sqlite) is None
