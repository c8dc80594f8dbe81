"""Step memory: stores the started steps of experiment runs, because target events do not describe their step."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, select

from extension_kit.deliveries.tables import bounded, steps
from extension_kit.store.database import Database
from extension_kit.store.upsert import upsert

KEEP = timedelta(days=1)
"""Time for which a step is remembered; ``retention.clean`` deletes it."""

MOST = 1000
"""Maximum number of steps remembered of one run, the newest."""


def remember_step(connection: Connection, run: str, step_id: str, body: bytes, now: datetime, most: int = MOST) -> None:
    """Remember the event that started a step.

    Args:
        connection: of the transaction that records the event.
        run: the experiment run, as ``Event.series`` has it.
        step_id: the step's id, by which its target events name it.
        body: the event.
        now: aware.
        most: maximum number of steps remembered of the run.
    """
    run, step_id = bounded(run), bounded(step_id)
    values = {"run": run, "step_id": step_id, "body": body, "seen_at": now}
    upsert(connection, steps, values, update=("body", "seen_at"))
    known = select(func.count()).select_from(steps).where(steps.c.run == run)
    if connection.execute(known).scalar_one() > most:
        others = (steps.c.run == run) & (steps.c.step_id != step_id)
        newest = select(steps.c.step_id).where(others).order_by(steps.c.seen_at.desc()).limit(most - 1)
        connection.execute(delete(steps).where(others, steps.c.step_id.not_in(newest)))


def find_step(database: Database, run: str, step_id: str) -> bytes | None:
    """Find the event that started a step; None where it is not remembered.

    Raises:
        StoreError: the database cannot be read.
    """
    with database.read() as connection:
        found: bytes | None = connection.execute(
            select(steps.c.body).where(steps.c.run == bounded(run), steps.c.step_id == bounded(step_id))
        ).scalar()
    return found
