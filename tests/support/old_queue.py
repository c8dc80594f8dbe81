"""The queue of jobs that earlier releases kept beside the deliveries, as far as an upgrade meets it."""

_SQLITE = (
    "CREATE TABLE procrastinate_workers (id INTEGER PRIMARY KEY AUTOINCREMENT, last_heartbeat INTEGER NOT NULL)",
    """
    CREATE TABLE procrastinate_jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, queue_name TEXT NOT NULL, lock TEXT, args TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'todo', worker_id INTEGER, waits_for TEXT, listener TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX extension_kit_jobs_line ON procrastinate_jobs (lock, id) WHERE status = 'todo'",
    """
    CREATE TRIGGER extension_kit_jobs_deleted AFTER DELETE ON procrastinate_jobs WHEN OLD.lock IS NOT NULL
    BEGIN
        UPDATE procrastinate_jobs SET waits_for = NULL WHERE lock = OLD.lock;
    END
    """,
)
LIBRARY = """
CREATE TYPE procrastinate_job_status AS ENUM ('todo', 'doing', 'succeeded', 'failed');
CREATE TYPE procrastinate_job_to_defer_v1 AS (queue_name varchar, args jsonb);
CREATE TABLE procrastinate_workers (id bigserial PRIMARY KEY, last_heartbeat timestamptz NOT NULL DEFAULT now());
CREATE TABLE procrastinate_jobs (
    id bigserial PRIMARY KEY, queue_name varchar NOT NULL, lock text, args jsonb NOT NULL,
    status procrastinate_job_status NOT NULL DEFAULT 'todo', worker_id bigint REFERENCES procrastinate_workers (id)
);
CREATE TABLE procrastinate_periodic_defers (
    id bigserial PRIMARY KEY, job_id bigint REFERENCES procrastinate_jobs (id)
);
CREATE TABLE procrastinate_events (
    id bigserial PRIMARY KEY, job_id bigint NOT NULL REFERENCES procrastinate_jobs (id) ON DELETE CASCADE
);
CREATE FUNCTION procrastinate_defer_jobs_v1(jobs procrastinate_job_to_defer_v1[]) RETURNS bigint[]
    LANGUAGE sql AS $$ SELECT '{}'::bigint[] $$;
CREATE FUNCTION procrastinate_finish_job_v1(job_id bigint, end_status procrastinate_job_status) RETURNS void
    LANGUAGE sql AS $$ DELETE FROM procrastinate_jobs WHERE id = job_id $$;
CREATE FUNCTION procrastinate_trigger_function_status_events_insert_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO procrastinate_events (job_id) VALUES (NEW.id);
    RETURN NEW;
END;
$$;
CREATE TRIGGER procrastinate_trigger_status_events_insert_v1 AFTER INSERT ON procrastinate_jobs
    FOR EACH ROW EXECUTE FUNCTION procrastinate_trigger_function_status_events_insert_v1();
"""
ADDITIONS = """
ALTER TABLE procrastinate_jobs ADD COLUMN waits_for text;
ALTER TABLE procrastinate_jobs ADD COLUMN listener text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX extension_kit_jobs_line ON procrastinate_jobs (lock, id) WHERE status = 'todo';
CREATE FUNCTION extension_kit_move_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END; $$;
CREATE TRIGGER extension_kit_jobs_deleted AFTER DELETE ON procrastinate_jobs
    FOR EACH ROW EXECUTE FUNCTION extension_kit_move_up();
CREATE FUNCTION extension_kit_waits_for(job procrastinate_jobs) RETURNS text LANGUAGE sql AS $$ SELECT 'lock' $$;
"""


def run_script(connection, script):
    """Run several statements of PostgreSQL in a transaction."""
    connection.connection.driver_connection.execute(script)


def make_old_queue(connection):
    """Make the tables of the queue, without jobs, in a transaction."""
    if connection.dialect.name == "sqlite":
        for statement in _SQLITE:
            connection.exec_driver_sql(statement)
    else:
        run_script(connection, LIBRARY + ADDITIONS)


def add_job(connection, ref, lock, listener, queue="deliveries"):
    """Add a job of a delivery."""
    values = (queue, lock, f'{{"delivery_ref": {ref}}}', listener)
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    places = ", ".join([mark] * len(values))
    connection.exec_driver_sql(
        f"INSERT INTO procrastinate_jobs (queue_name, lock, args, listener) VALUES ({places})", values
    )


def remains(connection):
    """Names of tables, types, functions, indexes and triggers of the queue."""
    if connection.dialect.name == "sqlite":
        statement = "SELECT name FROM sqlite_master"
    else:
        statement = """
            SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace
            UNION SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
            UNION SELECT typname FROM pg_type WHERE typnamespace = current_schema()::regnamespace
            UNION SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
                WHERE relnamespace = current_schema()::regnamespace
        """
    names = connection.exec_driver_sql(statement).scalars()
    return {name for name in names if "procrastinate" in name or name.startswith("extension_kit_jobs")}
