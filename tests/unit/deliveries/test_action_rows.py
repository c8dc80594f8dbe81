"""Actions leave rows: progress, state, and retention."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, select

from extension_kit.deliveries import action_rows
from extension_kit.deliveries.retention import clean
from extension_kit.deliveries.tables import actions

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def begun(database, now=NOW, made_by="ada"):
    with database.transaction() as connection:
        return action_rows.begin(connection, action_rows.REPLAY, made_by, "status=dead", 3, now)


def row_of(database, ref):
    with database.read() as connection:
        return action_rows.action_of(connection, ref)


def test_a_row_tells_who_did_what(database):
    row = row_of(database, begun(database))
    assert (row.kind, row.made_by, row.filter, row.expected) == ("replay", "ada", "status=dead", 3)
    assert (row.changed, row.skipped, row.started_at, row.seen_at) == (0, 0, NOW, NOW)
    assert row.ended_at is row.error is None


@pytest.mark.parametrize("name", ["x" * 1000, "a\x00b"])
def test_a_name_from_outside_has_any_length_and_characters(database, name):
    made_by = row_of(database, begun(database, made_by=name)).made_by
    assert len(made_by) <= 255
    assert "\x00" not in made_by


def test_pausing_and_resuming_are_done_at_once(database):
    before = datetime.now(UTC)
    with database.transaction() as connection:
        action_rows.add_receiver_action(connection, action_rows.PAUSE, "oncall.page@/page", action_rows.COMMAND_LINE)
        (row,) = action_rows.recent(connection, None, 10)
    assert (row.kind, row.made_by, row.filter) == ("pause", "command line", "oncall.page@/page")
    assert (row.expected, row.changed, row.skipped, row.error) == (1, 1, 0, None)
    assert before <= row.started_at == row.ended_at <= datetime.now(UTC)
    assert action_rows.state(row, NOW + DAY) == "done"


def test_progress_and_end(database):
    ref = begun(database)
    with database.transaction() as connection:
        action_rows.report(connection, ref, 2, 0, NOW + SECOND)
    row = row_of(database, ref)
    assert (row.changed, row.skipped, row.seen_at, row.ended_at) == (2, 0, NOW + SECOND, None)
    with database.transaction() as connection:
        action_rows.end(connection, ref, 2, 1, NOW + 2 * SECOND, "stopped")
    row = row_of(database, ref)
    assert (row.changed, row.skipped, row.seen_at, row.ended_at) == (2, 1, NOW + 2 * SECOND, NOW + 2 * SECOND)
    assert (row.error, action_rows.state(row, NOW)) == ("stopped", "failed")


def test_one_without_a_sign_of_life_is_interrupted(database):
    silent, alive = begun(database), begun(database)
    with database.transaction() as connection:
        action_rows.give_sign(connection, {alive}, NOW + 20 * SECOND)
    states = {ref: action_rows.state(row_of(database, ref), NOW + 31 * SECOND) for ref in (silent, alive)}
    assert states == {silent: "interrupted", alive: "running"}
    assert action_rows.state(row_of(database, silent), NOW + 30 * SECOND) == "running"


def test_rows_are_read_from_the_newest_on(database):
    refs = [begun(database) for _ in range(5)]
    with database.read() as connection:
        first = [row.ref for row in action_rows.recent(connection, None, 2)]
        second = [row.ref for row in action_rows.recent(connection, first[-1], 10)]
        assert action_rows.action_of(connection, refs[-1] + 1) is None
    assert [*first, *second] == refs[::-1]


def test_old_rows_are_forgotten(database):
    old, kept = begun(database, NOW - 31 * DAY), begun(database, NOW - 29 * DAY)
    clean(database, 30, 10_000, NOW)
    assert row_of(database, old) is None
    assert row_of(database, kept).ref == kept


def test_the_newest_rows_are_kept(database):
    some = {"kind": "replay", "made_by": "ada", "filter": "", "expected": 0, "changed": 0, "skipped": 0}
    with database.transaction() as connection:
        many = [{**some, "started_at": NOW, "seen_at": NOW}] * (action_rows.MOST + 250)
        connection.execute(insert(actions), many)
        newest = connection.execute(select(func.max(actions.c.ref))).scalar_one()
    assert action_rows.forget_actions(database, NOW - DAY) == 250
    with database.read() as connection:
        left = connection.execute(select(func.count(), func.max(actions.c.ref)).select_from(actions)).one()
    assert tuple(left) == (action_rows.MOST, newest)
    assert action_rows.forget_actions(database, NOW - DAY) == 0
