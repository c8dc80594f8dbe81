"""Manual changes of the queue: removes or reschedules waiting jobs, never a job in progress."""

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
"""SQLite would scan all jobs for the few in progress, although this index holds only them."""

_OURS = f"queue_name = '{QUEUE}'"
_NOTIFY = text("SELECT pg_notify(:channel, :payload)").bindparams(
    channel=f"procrastinate_queue_v1#{QUEUE}", payload=JOB_INSERTED
)
_WITHOUT_NOTE = "waits_for = CASE WHEN waits_for = '{}' THEN NULL ELSE waits_for END"


class QueueByHand:
    """Changes waiting jobs for commands such as replay and discard.

    On PostgreSQL a change locks the waiting job, so no worker can take it until the transaction ends. So a caller may
    change the delivery of a job that was changed here: no attempt of it begins meanwhile.
    """

    def take_out(self, connection: Connection, chosen: Sequence[Chosen]) -> set[int]:
        """Remove the waiting jobs of deliveries from the queue; return the delivery refs of the removed jobs."""
        return self._change(connection, "DELETE FROM procrastinate_jobs", chosen)

    def make_due(self, connection: Connection, chosen: Sequence[Chosen]) -> set[int]:
        """Make the waiting jobs of deliveries due now; return the delivery refs of the changed jobs."""
        due = f"UPDATE procrastinate_jobs SET scheduled_at = NULL, {_WITHOUT_NOTE.format('time')}"
        changed = self._change(connection, due, chosen)
        self._tell(connection)
        return changed

    def hand_over(self, connection: Connection, old: str, new: str) -> int | None:
        """Assign the waiting jobs of the listener ``old`` to the listener ``new``; they keep their order.

        Until the end of the transaction no job is added, begun or ended. So call this before any other change:
        a transaction that ends a delivery locks the delivery first and its job second.

        Returns:
            The ref of a delivery to ``old`` with an attempt in progress, in which case nothing is changed; else None.
        """
        dialect = connection.dialect.name
        if dialect == "postgresql":  # SQLite has one writing transaction at a time
            connection.execute(text("LOCK TABLE procrastinate_jobs IN EXCLUSIVE MODE"))
        theirs = f"FROM procrastinate_jobs WHERE {_OURS} AND status = 'doing' AND listener = :old"
        doing = text(f"SELECT {_REF[dialect]} {theirs} LIMIT 1")
        attempted: int | None = connection.execute(doing, {"old": old}).scalar()
        if attempted is not None:
            return attempted
        # A note that a job waits for an earlier one may be wrong for the new lock. Without a note it is checked again.
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
        """Return the refs of deliveries with an attempt in progress, including those of workers not yet found dead."""
        dialect = connection.dialect.name
        query = (
            f"SELECT {_REF[dialect]} FROM procrastinate_jobs {_BY_DOING[dialect]} WHERE {_OURS} AND status = 'doing'"
        )
        return set(connection.execute(text(query)).scalars())

    def first_in_line(self, connection: Connection, locks: Collection[str]) -> dict[str, int]:
        """Return the delivery of each lock that the others wait for: the one in progress, or else the next one."""
        dialect = connection.dialect.name
        mine = f"SELECT {_REF[dialect]} FROM procrastinate_jobs WHERE lock = line"
        doing = f"{mine} AND status = 'doing'"
        next_ = f"{mine} AND status = 'todo' ORDER BY priority DESC, id LIMIT 1"
        query = text(f"SELECT line, coalesce(({doing}), ({next_})) FROM {_LINES[dialect]}")
        lines = json.dumps(list(locks)) if dialect == "sqlite" else list(locks)
        return {lock: ref for lock, ref in connection.execute(query, {"locks": lines}) if ref is not None}

    def _change(self, connection: Connection, change: str, chosen: Sequence[Chosen]) -> set[int]:
        """Change waiting jobs. Jobs with a lock are found by it, because the lock has an index."""
        dialect = connection.dialect.name
        among, ref = _AMONG[dialect], _REF[dialect]
        locked = [each for each in chosen if each.lock is not None]
        unlocked = [each for each in chosen if each.lock is None]
        changed: set[int] = set()
        # Two statements: with an OR between them, SQLite would scan all jobs.
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
        """Notify workers on PostgreSQL; on SQLite they poll every two seconds."""
        if connection.dialect.name == "postgresql":
            connection.execute(_NOTIFY)
