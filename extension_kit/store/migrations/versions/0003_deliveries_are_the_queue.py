"""The deliveries that wait are the queue; the tables of the task queue that held a job for each of them go."""

from typing import Any
from zlib import crc32

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# Tables of the same name that another application brought are left alone, and so are its jobs in tables that it shares.
_QUEUE = """
DO $$
DECLARE
    jobs regclass := to_regclass('procrastinate_jobs');
    home regnamespace;
    is_shared boolean;
    name text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = jobs AND attname = 'waits_for') THEN
        RETURN;
    END IF;
    SELECT relnamespace INTO home FROM pg_class WHERE oid = jobs;
    SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE queue_name <> 'deliveries')
        OR EXISTS (SELECT FROM procrastinate_periodic_defers) INTO is_shared;
    IF is_shared THEN
        DELETE FROM procrastinate_jobs WHERE queue_name = 'deliveries';
    ELSE
        EXECUTE format('DROP TABLE %1$s.procrastinate_periodic_defers, %1$s.procrastinate_events,'
            ' %1$s.procrastinate_jobs, %1$s.procrastinate_workers CASCADE', home);
    END IF;
    FOR name IN SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = home AND (
        NOT is_shared AND proname LIKE 'procrastinate\\_%' OR proname IN (
            'extension_kit_note_time', 'extension_kit_move_up', 'extension_kit_waits_for', 'extension_kit_fetch_job'))
    LOOP
        EXECUTE 'DROP FUNCTION ' || name || ' CASCADE';
    END LOOP;
    FOR name IN SELECT pg_type.oid::regtype::text FROM pg_type LEFT JOIN pg_class ON pg_class.oid = typrelid
        WHERE typnamespace = home AND typname LIKE 'procrastinate\\_%' AND NOT is_shared
        AND (typtype = 'e' OR relkind = 'c')
    LOOP
        EXECUTE 'DROP TYPE ' || name || ' CASCADE';
    END LOOP;
END $$;
"""
_INDEXES = {
    "ready": ("stage = 'ready'", ["listener", "shard", "ref"]),
    "later": ("stage = 'later'", ["shard", "due_at"]),
    "claimed": ("stage = 'claimed'", ["shard"]),
    "line": ("status = 'waiting'", ["lock", "ref"]),
    "ended": ("status <> 'waiting'", ["status", "due_at"]),
}


def upgrade() -> None:
    connection = op.get_bind()
    is_sqlite = connection.dialect.name == "sqlite"
    op.add_column("deliveries", sa.Column("shard", sa.Integer, nullable=False, server_default="0"))
    op.add_column("deliveries", sa.Column("stage", sa.String(8)))
    op.add_column("deliveries", sa.Column("claimed_at", sa.DateTime(timezone=True)))
    op.add_column("deliveries", sa.Column("losses", sa.Integer, nullable=False, server_default="0"))
    op.drop_index("ix_deliveries_status_due_at", "deliveries")
    if is_sqlite:
        for table in ("procrastinate_jobs", "procrastinate_workers"):
            op.execute(f"DROP TABLE IF EXISTS {table}")
    else:
        driver: Any = connection.connection.driver_connection
        driver.execute(_QUEUE)  # several statements, with percent signs
        op.execute('ALTER TABLE deliveries ALTER COLUMN listener TYPE varchar(255) COLLATE "C"')
    for name, (where, columns) in _INDEXES.items():
        condition = sa.text(where)
        op.create_index(
            f"ix_deliveries_{name}", "deliveries", columns, sqlite_where=condition, postgresql_where=condition
        )
    # Attempts of workers that were stopped before the upgrade, or that died.
    op.execute(
        "UPDATE attempts SET result = 'lost', error = 'the process that made it died', ended_at = started_at"
        " WHERE ended_at IS NULL"
    )
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')" if is_sqlite else "now()"
    op.execute(
        f"UPDATE deliveries SET stage = CASE WHEN due_at > {now} THEN 'later' ELSE 'ready' END"  # noqa: S608
        " WHERE status = 'waiting'"
    )
    if not is_sqlite:
        _put_into_shards(connection)


def _put_into_shards(connection: sa.Connection) -> None:
    unended = (
        "SELECT ref, lock, listener, event_ref FROM deliveries"
        " WHERE status IN ('waiting', 'dead') AND ref > :last ORDER BY ref LIMIT 1000"
    )
    change = sa.text(
        "UPDATE deliveries SET shard = given.shard FROM unnest(CAST(:refs AS bigint[]), CAST(:shards AS integer[]))"
        " AS given (ref, shard) WHERE deliveries.ref = given.ref"
    )
    last = 0
    while rows := connection.execute(sa.text(unended), {"last": last}).all():
        refs = [row.ref for row in rows]
        shards = [crc32((row.lock or f"{row.listener}|{row.event_ref}").encode()) % 32 for row in rows]
        connection.execute(change, {"refs": refs, "shards": shards})
        last = refs[-1]
