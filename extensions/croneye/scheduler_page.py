"""Page of the event log with the schedulers: their status, and the numbers of their jobs."""

from typing import Any

import orjson
from sqlalchemy import Connection, Row, func, literal, select, union_all

from extension_kit.protocol import BadPlace, Cell, LogTable, Status

from .settings import CronEyeSettings
from .tables import jobs, schedulers

MOST_JOBS = 500
"""Jobs of a scheduler that are counted at most, removed ones among them."""

_COLUMNS = ("Scheduler", "Status", "Status since", "Last event received", "Jobs", "Running", "Lost")


def read_schedulers(connection: Connection, settings: CronEyeSettings, before: str | None, limit: int) -> LogTable:
    """Read a page of schedulers, in the order of their names."""
    query = select(schedulers).order_by(schedulers.c.name).limit(limit + 1)
    if before is not None:
        query = query.where(schedulers.c.name > _name(before))
    found = connection.execute(query).all()
    numbers = _count_jobs(connection, [row.name for row in found[:limit]])
    return LogTable(
        _COLUMNS,
        [(row.name, Status(row.status), row.status_at, row.seen_at, *numbers[row.name]) for row in found[:limit]],
        next=orjson.dumps([found[limit - 1].name]).decode() if len(found) > limit else None,
    )


def _name(place: str) -> str:
    try:
        (name,) = orjson.loads(place)
    except (ValueError, TypeError):
        raise BadPlace from None
    if not isinstance(name, str) or "\x00" in name:
        raise BadPlace
    return name


def _count_jobs(connection: Connection, names: list[str]) -> dict[str, tuple[Cell, ...]]:
    """Return the numbers of jobs of schedulers: all, running and lost ones; a text where not all were counted."""
    if not names:
        return {}
    found = connection.execute(union_all(*map(_counted, names)))
    return {row.name: tuple(_shown(row, number) for number in (row.active, row.running, row.lost)) for row in found}


def _shown(row: Row[Any], number: int) -> Cell:
    return number if row.counted < MOST_JOBS else f"{number:,} or more"


def _counted(name: str) -> Any:
    some = select(jobs.c.is_active, jobs.c.running_since, jobs.c.lost_since).where(jobs.c.scheduler == name)
    found = some.limit(MOST_JOBS).subquery()
    return select(
        literal(name).label("name"),
        func.count().label("counted"),
        func.count().filter(found.c.is_active).label("active"),
        func.count(found.c.running_since).filter(found.c.is_active).label("running"),
        func.count(found.c.lost_since).filter(found.c.is_active).label("lost"),
    )
