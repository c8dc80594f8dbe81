"""Schema of the queue: tables, indexes, triggers and functions.

On PostgreSQL the tables are procrastinate's own. On SQLite they are the same, with times in microseconds since 1970.

The time to find the next job must not grow with the number of waiting jobs. So each job has a note, ``waits_for``:
``lock`` if an earlier job of the same lock has not ended, ``time`` if it is not due. The search for the next job skips
jobs with a note. A worker writes a note when its search meets a job that cannot start yet. A trigger clears ``lock``
whenever an earlier job is removed, by any transaction; the search clears ``time`` when the job is due. A job without a
note may still have to wait: procrastinate's rule always decides, the note only saves checking the job again.

Each job has the name of its ``listener``. Listeners take turns: the next job is taken from the listener that follows
the last one by name, and for each listener the oldest job comes first. So a listener with a long backlog does not
delay others, and a listener that occupies too many threads is skipped at once.
"""

# ruff: noqa: S608 (only constants are put into queries)

from typing import Any

from sqlalchemy import Connection

_SQLITE = (
    """
    CREATE TABLE IF NOT EXISTS procrastinate_workers (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        last_heartbeat INTEGER NOT NULL
    )
    """,
    # Worker ids are never reused: else a worker that was declared dead could end a job of another worker.
    """
    CREATE TABLE IF NOT EXISTS procrastinate_jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        queue_name TEXT NOT NULL,
        task_name TEXT NOT NULL,
        priority INTEGER NOT NULL DEFAULT 0,
        lock TEXT,
        queueing_lock TEXT,
        args TEXT NOT NULL DEFAULT '{}',
        status TEXT NOT NULL DEFAULT 'todo'
            CHECK (status IN ('todo', 'doing', 'succeeded', 'failed', 'cancelled', 'aborted')),
        scheduled_at INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        abort_requested INTEGER NOT NULL DEFAULT 0,
        worker_id INTEGER,
        deferred_at INTEGER NOT NULL,
        waits_for TEXT,
        listener TEXT NOT NULL DEFAULT '',
        CHECK (NOT (status = 'todo' AND abort_requested))
    )
    """,
    "CREATE UNIQUE INDEX IF NOT EXISTS procrastinate_jobs_queueing_lock_idx_v1"
    " ON procrastinate_jobs (queueing_lock) WHERE status = 'todo' AND queueing_lock IS NOT NULL",
    "CREATE UNIQUE INDEX IF NOT EXISTS procrastinate_jobs_lock_idx_v1"
    " ON procrastinate_jobs (lock) WHERE status = 'doing'",
    "CREATE INDEX IF NOT EXISTS procrastinate_jobs_worker_idx"
    " ON procrastinate_jobs (worker_id) WHERE worker_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS extension_kit_jobs_ready"
    " ON procrastinate_jobs (listener, priority DESC, id) WHERE status = 'todo' AND waits_for IS NULL",
    "CREATE INDEX IF NOT EXISTS extension_kit_jobs_due"
    " ON procrastinate_jobs (scheduled_at) WHERE status = 'todo' AND waits_for = 'time'",
    "CREATE INDEX IF NOT EXISTS extension_kit_jobs_line"
    " ON procrastinate_jobs (lock, priority DESC, id) WHERE status = 'todo'",
    *(
        f"""
        CREATE TRIGGER IF NOT EXISTS extension_kit_jobs_{name} AFTER {event} ON procrastinate_jobs
        WHEN OLD.lock IS NOT NULL AND OLD.status IN ('todo', 'doing') {condition}
        BEGIN
            UPDATE procrastinate_jobs SET waits_for = NULL WHERE waits_for = 'lock' AND id = (
                SELECT id FROM procrastinate_jobs WHERE lock = OLD.lock AND status = 'todo'
                ORDER BY priority DESC, id LIMIT 1
            );
        END
        """
        for name, event, condition in (
            ("deleted", "DELETE", ""),
            ("changed", "UPDATE OF status, lock, priority", "AND NEW.status <> 'doing'"),
        )
    ),
)

_POSTGRESQL = """
ALTER TABLE procrastinate_jobs ADD COLUMN IF NOT EXISTS waits_for text;
ALTER TABLE procrastinate_jobs ADD COLUMN IF NOT EXISTS listener text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS extension_kit_jobs_ready
    ON procrastinate_jobs (listener, priority DESC, id) WHERE status = 'todo' AND waits_for IS NULL;
CREATE INDEX IF NOT EXISTS extension_kit_jobs_due
    ON procrastinate_jobs (scheduled_at) WHERE status = 'todo' AND waits_for = 'time';
CREATE INDEX IF NOT EXISTS extension_kit_jobs_line
    ON procrastinate_jobs (lock, priority DESC, id) WHERE status = 'todo';

-- The history of a job is in the tables of deliveries and attempts; its rows here would only grow with every retry.
DROP TRIGGER IF EXISTS procrastinate_trigger_status_events_update_v1 ON procrastinate_jobs;
DROP TRIGGER IF EXISTS procrastinate_trigger_scheduled_events_v1 ON procrastinate_jobs;

CREATE OR REPLACE FUNCTION extension_kit_note_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.waits_for := 'time';
    RETURN NEW;
END;
$$;
DROP TRIGGER IF EXISTS extension_kit_jobs_scheduled ON procrastinate_jobs;
CREATE TRIGGER extension_kit_jobs_scheduled BEFORE INSERT OR UPDATE OF status ON procrastinate_jobs FOR EACH ROW
    WHEN (NEW.status = 'todo' AND NEW.scheduled_at > now())
    EXECUTE FUNCTION extension_kit_note_time();

-- The row has to be locked before its note is read: a worker that searches for a job may be writing "lock" into it.
CREATE OR REPLACE FUNCTION extension_kit_move_up() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    next record;
BEGIN
    SELECT id, waits_for INTO next FROM procrastinate_jobs WHERE lock = OLD.lock AND status = 'todo'
        ORDER BY priority DESC, id LIMIT 1 FOR UPDATE;
    IF next.waits_for = 'lock' THEN
        UPDATE procrastinate_jobs SET waits_for = NULL WHERE id = next.id;
    END IF;
    RETURN NULL;
END;
$$;
DROP TRIGGER IF EXISTS extension_kit_jobs_deleted ON procrastinate_jobs;
CREATE TRIGGER extension_kit_jobs_deleted AFTER DELETE ON procrastinate_jobs FOR EACH ROW
    WHEN (OLD.lock IS NOT NULL AND OLD.status IN ('todo', 'doing'))
    EXECUTE FUNCTION extension_kit_move_up();
DROP TRIGGER IF EXISTS extension_kit_jobs_changed ON procrastinate_jobs;
CREATE TRIGGER extension_kit_jobs_changed AFTER UPDATE OF status, lock, priority ON procrastinate_jobs FOR EACH ROW
    WHEN (OLD.lock IS NOT NULL AND OLD.status IN ('todo', 'doing') AND NEW.status <> 'doing')
    EXECUTE FUNCTION extension_kit_move_up();

CREATE OR REPLACE FUNCTION extension_kit_waits_for(job procrastinate_jobs) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN CASE
        WHEN job.scheduled_at > now() THEN 'time'
        WHEN EXISTS (SELECT FROM procrastinate_jobs AS other WHERE other.lock = job.lock AND other.status = 'doing')
            OR job.id <> (
                SELECT other.id FROM procrastinate_jobs AS other WHERE other.lock = job.lock AND other.status = 'todo'
                ORDER BY other.priority DESC, other.id LIMIT 1
            )
        THEN 'lock'
    END;
END;
$$;

-- Starts the next job: the first by procrastinate's rule, of the first listener after "last" in name order, wrapping
-- around, that is not in "resting". If there is none, "wait" is the seconds until the next job is due.
CREATE OR REPLACE FUNCTION extension_kit_fetch_job(
    queues varchar[], worker bigint, last text, resting text[],
    OUT job procrastinate_jobs, OUT wait double precision
) LANGUAGE plpgsql AS $$
DECLARE
    passed bigint[];
    held text[];
    next text;
    place text COLLATE "C" := last || chr(1); -- comes right after "last": no name has such a character
    wrapped boolean := false;
    notes int := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM procrastinate_workers WHERE id = worker) THEN
        RETURN;
    END IF;
    UPDATE procrastinate_jobs SET waits_for = NULL WHERE id IN (
        SELECT id FROM procrastinate_jobs WHERE status = 'todo' AND waits_for = 'time' AND scheduled_at <= now()
        ORDER BY scheduled_at LIMIT 100 FOR UPDATE SKIP LOCKED
    );
    WHILE notes < 10 LOOP
        SELECT listener INTO next FROM procrastinate_jobs
            WHERE status = 'todo' AND waits_for IS NULL AND listener >= place
            AND (queues IS NULL OR queue_name = ANY(queues)) ORDER BY listener, priority DESC, id LIMIT 1;
        IF NOT FOUND AND NOT wrapped THEN
            place := '';
            wrapped := true;
            CONTINUE;
        END IF;
        IF NOT FOUND OR wrapped AND next > last COLLATE "C" THEN
            job := NULL;
            SELECT extract(epoch FROM scheduled_at - now()) INTO wait FROM procrastinate_jobs
                WHERE status = 'todo' AND waits_for = 'time' ORDER BY scheduled_at LIMIT 1;
            RETURN;
        END IF;
        IF next = ANY(resting) THEN
            place := next || chr(1);
            CONTINUE;
        END IF;
        SELECT * INTO job FROM procrastinate_jobs
            WHERE status = 'todo' AND waits_for IS NULL AND listener = next
            AND (queues IS NULL OR queue_name = ANY(queues))
            ORDER BY priority DESC, id LIMIT 1 FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN -- other workers are about to start them
            place := next || chr(1);
            CONTINUE;
        END IF;
        -- A statement of its own, after the one that locked the row, because it must see changes committed since then.
        IF extension_kit_waits_for(job) IS NULL THEN
            UPDATE procrastinate_jobs SET status = 'doing', worker_id = worker WHERE id = job.id RETURNING * INTO job;
            RETURN;
        END IF;
        passed := ARRAY(
            SELECT id FROM procrastinate_jobs AS other WHERE extension_kit_waits_for(other) IS NOT NULL AND id IN (
                SELECT id FROM procrastinate_jobs
                WHERE status = 'todo' AND waits_for IS NULL AND listener = next
                AND (queues IS NULL OR queue_name = ANY(queues)) ORDER BY priority DESC, id LIMIT 100
            ) FOR UPDATE SKIP LOCKED
        );
        -- No note for jobs behind a job that is just being ended: its trigger could not see the note, nor clear it.
        held := ARRAY(
            SELECT lock FROM procrastinate_jobs WHERE status = 'doing' AND lock IN (
                SELECT lock FROM procrastinate_jobs WHERE id = ANY(passed)
            ) FOR SHARE SKIP LOCKED
        );
        UPDATE procrastinate_jobs AS other SET waits_for = extension_kit_waits_for(other)
            WHERE id = ANY(passed) AND (other.lock IS NULL OR other.lock = ANY(held) OR NOT EXISTS (
                SELECT FROM procrastinate_jobs AS first WHERE first.lock = other.lock AND first.status = 'doing'
            ));
        notes := notes + 1;
    END LOOP;
    job := NULL;
    wait := 0;
END;
$$;
"""


def create_tables(connection: Connection) -> None:
    """Create missing tables, indexes, triggers and functions of the queue."""
    if connection.dialect.name == "sqlite":
        for statement in _SQLITE:
            connection.exec_driver_sql(statement)
        return
    # The driver itself sends many statements at once, and does not interpret percent signs.
    driver: Any = connection.connection.driver_connection
    if driver.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()[0] is None:
        from procrastinate.schema import SchemaManager

        driver.execute(SchemaManager.get_schema())
    driver.execute(_POSTGRESQL)
