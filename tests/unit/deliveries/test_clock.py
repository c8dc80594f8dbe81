"""A clock that was set back: waits that it made too long, on each store."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from extension_kit.deliveries.clock import reschedule_early
from extension_kit.deliveries.tables import LATER, WAITING, attempts, deliveries, events

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def put_off(database):
    """Add a delivery that waits: since when, until when, with an attempt before that or only with a target at rest."""

    def put_off(ref, since, until, *, tried=True):
        now = datetime.now(UTC)
        with database.transaction() as connection:
            event = {"ref": ref, "source": "t", "event_id": str(ref), "name": "a", "body": b"{}", "received_at": now}
            connection.execute(insert(events).values(event))
            row = {
                "ref": ref,
                "event_ref": ref,
                "listener": "page",
                "status": WAITING,
                "stage": LATER,
                "attempts": int(tried),
            }
            times = {"created_at": now, "due_at": until, "first_attempt_at": since}
            connection.execute(insert(deliveries).values(row | times))
            if tried:
                made = {"delivery_ref": ref, "number": 1, "started_at": since, "ended_at": since, "result": "failed"}
                connection.execute(insert(attempts).values(made))

    return put_off


@pytest.fixture
def dues(database):
    """The seconds after which each delivery is due."""

    def dues():
        with database.read() as connection:
            rows = connection.execute(select(deliveries.c.ref, deliveries.c.due_at).order_by("ref")).all()
        now = datetime.now(UTC).timestamp()
        return {row.ref: row.due_at.timestamp() - now for row in rows}

    return dues


def test_what_waits_by_the_old_clock_waits_as_long_as_planned_and_no_longer(database, put_off, dues, caplog):
    ahead = datetime.now(UTC) + DAY
    put_off(1, ahead, ahead + timedelta(seconds=5))
    put_off(2, ahead, ahead + HOUR)
    put_off(3, ahead, ahead + HOUR, tried=False)
    assert reschedule_early(database) == 3
    found = dues()
    for ref, wait in ((1, 5), (2, 3600), (3, 0)):
        assert found[ref] == pytest.approx(wait, abs=30)
    assert caplog.text.count("The clock was set back") == 1
    assert reschedule_early(database) == 0
    assert dues()[2] <= found[2]


def test_where_the_clock_is_right_nothing_changes(database, put_off, dues):
    now = datetime.now(UTC)
    put_off(1, now, now + 30 * DAY)
    put_off(2, now + timedelta(seconds=20), now + HOUR)
    put_off(3, now - HOUR, now + HOUR, tried=False)
    assert reschedule_early(database) == 0
    assert [round(due / 3600) for due in dues().values()] == [720, 1, 1]


def test_only_those_are_brought_back_that_were_put_off_by_the_old_clock(database, put_off, dues):
    now = datetime.now(UTC)
    put_off(1, now, now + 2 * DAY)
    put_off(2, now + DAY, now + DAY + HOUR)
    assert reschedule_early(database) == 1
    assert [round(due / 3600) for due in dues().values()] == [48, 1]
