"""What people change of the queue by hand: the jobs of some deliveries, but never one that is being done."""

# ruff: noqa: S608 (only constants are put into queries)

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, text

from extension_kit.deliveries.contracts import Chosen
from extension_kit.engine.app import QUEUE
from extension_kit.engine.store import JOB_INSERTED

_REF = {
    "sqlite": "json_extract(args, '$.delivery_ref')",
    "postgresql": "CAST(args ->> 'delivery_ref' AS bigint)",
}
_AMONG = {"sqlite": "IN (SELECT value FROM json_each({}))", "postgresql": "= ANY({})"}
_LINES = {
    "sqlite": "(SELECT value AS line FROM json_each(:locks)) AS lines",
    "postgresql": "unnest(CAST(:locks AS text[])) AS lines (line)",
}
_BY_DOING = {"sqlite": "INDEXED BY procrastinate_jobs_lock_idx_v1", "postgresql": ""}
"""SQLite would look through all jobs for the few that are being done, although this index has just them."""

_OURS = f"queue_name = '{QUEUE}'"
_NOTIFY = text("SELECT pg_notify(:channel, :payload)").bindparams(
    channel=f"procrastinate_queue_v1#{QUEUE}", payload=JOB_INSERTED
)
_WITHOUT_NOTE = "waits_for = CASE WHEN waits_for = '{}' THEN NULL ELSE waits_for END"


class QueueByHand:
    """The queue of a database, for people.

    A job that waits is locked, on PostgreSQL, by what changes it, and can be taken by no worker until the transaction
    ends. So whoever finds a delivery's job changed here may change the delivery: no attempt of it begins meanwhile.
    """

    def take_out(self, connection: Connection, chosen: Sequence[Chosen]) -> set[int]:
        """Take the jobs of deliveries that wait off the queue, and return the deliveries of those jobs."""
        return self._change(connection, "DELETE FROM procrastinate_jobs", chosen)

    def make_due(self, connection: Connection, chosen: Sequence[Chosen]) -> set[int]:
        """Let jobs that wait for their time wait for it no more, and return the deliveries of those jobs."""
        due = f"UPDATE procrastinate_jobs SET scheduled_at = NULL, {_WITHOUT_NOTE.format('time')}"
        changed = self._change(connection, due, chosen)
        self._tell(connection)
        return changed

    def hand_over(self, connection: Connection, old: str, new: str) -> int | None:
        """Make the jobs that wait for one listener those of another; they keep their places in the line.

        Until the end of the transaction no job is added, begun or ended. So it has to come before any other change:
        whoever ends a delivery locks that first and its job second.

        Returns:
            A delivery to the first listener that is being attempted, in which case nothing is changed; else None.
        """
        dialect = connection.dialect.name
        if dialect == "postgresql":  # a transaction of SQLite is alone by itself
            connection.execute(text("LOCK TABLE procrastinate_jobs IN EXCLUSIVE MODE"))
        theirs = f"FROM procrastinate_jobs WHERE {_OURS} AND status = 'doing' AND listener = :old"
        doing = text(f"SELECT {_REF[dialect]} {theirs} LIMIT 1")
        attempted: int | None = connection.execute(doing, {"old": old}).scalar()
        if attempted is not None:
            return attempted
        # A note that a job waits for one before it may not hold in the other line. Without it, it is looked at again.
        connection.execute(
            text(
                "UPDATE procrastinate_jobs SET listener = :new, lock = :new || substr(lock, :rest), "
                f"scheduled_at = NULL, waits_for = NULL WHERE {_OURS} AND status = 'todo' AND listener = :old"
            ),
            {"old": old, "new": new, "rest": len(old) + 1},
        )
        self._tell(connection)
        return None

    def doing(self, connection: Connection) -> set[int]:
        """The deliveries that are being attempted, by a worker that lives or is believed to."""
        dialect = connection.dialect.name
        query = (
            f"SELECT {_REF[dialect]} FROM procrastinate_jobs {_BY_DOING[dialect]} WHERE {_OURS} AND status = 'doing'"
        )
        return set(connection.execute(text(query)).scalars())

    def first_in_line(self, connection: Connection, locks: Collection[str]) -> dict[str, int]:
        """Find the delivery of each lock that the others wait for: the one that is attempted, or is to be next."""
        dialect = connection.dialect.name
        mine = f"SELECT {_REF[dialect]} FROM procrastinate_jobs WHERE lock = line"
        doing = f"{mine} AND status = 'doing'"
        next_ = f"{mine} AND status = 'todo' ORDER BY priority DESC, id LIMIT 1"
        query = text(f"SELECT line, coalesce(({doing}), ({next_})) FROM {_LINES[dialect]}")
        lines = json.dumps(list(locks)) if dialect == "sqlite" else list(locks)
        return {lock: ref for lock, ref in connection.execute(query, {"locks": lines}) if ref is not None}

    def _change(self, connection: Connection, change: str, chosen: Sequence[Chosen]) -> set[int]:
        """Change the jobs that wait; those with a lock are found by it, for which there is an index."""
        dialect = connection.dialect.name
        among, ref = _AMONG[dialect], _REF[dialect]
        locked = [each for each in chosen if each.lock is not None]
        unlocked = [each for each in chosen if each.lock is None]
        changed: set[int] = set()
        # Two statements: with an OR between them, SQLite would look through all jobs.
        for some, line in ((locked, f"lock {among.format(':locks')}"), (unlocked, "lock IS NULL")):
            if some:
                where = f"status = 'todo' AND {line} AND {_OURS} AND {ref} {among.format(':refs')}"
                values: dict[str, Any] = {"refs": [each.ref for each in some]}
                if some is locked:
                    values["locks"] = list({each.lock for each in some})
                if dialect == "sqlite":
                    values = {name: json.dumps(value) for name, value in values.items()}
                changed.update(connection.execute(text(f"{change} WHERE {where} RETURNING {ref}"), values).scalars())
        return changed

    def _tell(self, connection: Connection) -> None:
        """Tell workers; on SQLite they look by themselves, every other second."""
        if connection.dialect.name == "postgresql":
            connection.execute(_NOTIFY)
