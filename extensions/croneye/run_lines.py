"""Lines of runs: the newest runs of some jobs, as bars of a time line."""

# ruff: noqa: S608 (only names of ours are put into statements)

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from extension_kit.protocol import BulkStatement, TimeBar, driver_time, from_driver_time

from .tables import LATER, LOST

MOST_RUNS = 200
"""Runs of a job at most: the newest."""

OPEN_STATE = "running"
"""State of a run that goes on."""

UNENDED_STATE = "no end"
"""State of a run without a known end although a later one has begun; it is shown at its begin."""


def read_lines(
    connection: Connection, running_since: Mapping[int, datetime | None], since: datetime
) -> dict[int, list[TimeBar]]:
    """Return the bars of the newest runs of jobs that ended after a time, began after it or go on, oldest first.

    Args:
        connection: to read with.
        running_since: numbers of jobs, each with the begin of the run that goes on, if any.
        since: aware.
    """
    lines: dict[int, list[TimeBar]] = {ref: [] for ref in running_since}
    if not lines:
        return lines
    begin, later = (driver_time(time, is_sqlite=connection.dialect.name == "sqlite") for time in (since, LATER))
    for ref, begun_at, ended_at, outcome, lost_at in _READ.execute(connection, [(ref, begin, later) for ref in lines]):
        begun = from_driver_time(begun_at)
        if ended_at is not None:
            lines[ref].append(TimeBar(begun, max(begun, from_driver_time(ended_at)), outcome))
        elif lost_at is not None:
            lines[ref].append(TimeBar(begun, begun, LOST))
        elif begun != running_since[ref]:
            lines[ref].append(TimeBar(begun, begun, UNENDED_STATE))
    for ref, running in running_since.items():
        if running is not None:
            lines[ref].append(TimeBar(running, None, OPEN_STATE))
        lines[ref] = sorted(lines[ref], key=lambda bar: bar.begin)[-MOST_RUNS:]
    return lines


def _statement(*, has_lateral: bool) -> str:
    """Return the statement: both of its parts are found by an index, however many runs a job has."""
    columns = "run.job_ref, run.begun_at, run.ended_at, run.outcome, run.lost_at"

    def newest(column: str, rest: str) -> str:
        mine = f"FROM croneye_runs WHERE job_ref = wanted.job_ref AND {column} >= wanted.since {rest}"
        mine = f"{mine} ORDER BY {column} DESC LIMIT {MOST_RUNS}"
        if has_lateral:
            return f"SELECT {columns} FROM wanted CROSS JOIN LATERAL (SELECT * {mine}) AS run WHERE true"
        return f"SELECT {columns} FROM wanted CROSS JOIN croneye_runs AS run WHERE run.ref IN (SELECT ref {mine})"

    ended, begun = newest("until", "AND until < wanted.later"), newest("started_at", "")
    return f"WITH wanted AS (SELECT * FROM {{given}}) {ended} UNION ALL {begun} AND run.ended_at IS NULL"


_READ = BulkStatement(
    _statement(has_lateral=False),
    {"job_ref": "bigint", "since": "timestamptz", "later": "timestamptz"},
    postgresql=_statement(has_lateral=True),
)
