"""SQLite queries: procrastinate's queries in SQLite's SQL, reading queries by name and the parts of the others."""

# ruff: noqa: S608 (only constants are put into queries)

_JOB = "id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name, attempts, worker_id"
_WANTED = """
(:queue_name IS NULL OR queue_name = :queue_name) AND (:task_name IS NULL OR task_name = :task_name)
AND (:status IS NULL OR status = :status) AND (:lock IS NULL OR lock = :lock)
"""


def _counted_by(column: str) -> str:
    return f"""
        SELECT name, sum(jobs) AS jobs_count, json_group_object(status, jobs) AS stats FROM (
            SELECT {column} AS name, status, count(*) AS jobs FROM procrastinate_jobs
            WHERE {_WANTED} AND {column} IS NOT NULL GROUP BY {column}, status
        ) GROUP BY name ORDER BY name
    """


READING = {
    "get_job_status": "SELECT status FROM procrastinate_jobs WHERE id = :job_id",
    "check_connection": "SELECT (SELECT name FROM sqlite_master WHERE name = 'procrastinate_jobs') AS \"check\"",
    "count_jobs_status": "SELECT count(*) AS count, status FROM procrastinate_jobs GROUP BY status",
    "list_jobs": f"""
        SELECT {_JOB}, abort_requested FROM procrastinate_jobs WHERE {_WANTED} AND (:id IS NULL OR id = :id)
        AND (:queueing_lock IS NULL OR queueing_lock = :queueing_lock)
        AND (:worker_id IS NULL OR worker_id = :worker_id) ORDER BY id
    """,
    "list_queues": _counted_by("queue_name"),
    "list_tasks": _counted_by("task_name"),
    "list_locks": _counted_by("lock"),
    "list_jobs_to_abort": """
        SELECT id FROM procrastinate_jobs
        WHERE status = 'doing' AND abort_requested AND (:queue_name IS NULL OR queue_name = :queue_name)
    """,
    "select_stalled_jobs_by_heartbeat": f"""
        SELECT {_JOB} FROM procrastinate_jobs AS job
        WHERE status = 'doing' AND (:queue IS NULL OR queue_name = :queue)
        AND (:task_name IS NULL OR task_name = :task_name)
        AND (worker_id IS NULL OR EXISTS (
            SELECT 1 FROM procrastinate_workers AS worker
            WHERE worker.id = job.worker_id AND abs(:now - last_heartbeat) > :seconds_since_heartbeat * 1000000
        ))
    """,
}

DEFER = """
INSERT INTO procrastinate_jobs
    (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at, deferred_at, waits_for)
VALUES (:queue_name, :task_name, :priority, :lock, :queueing_lock, :args, :scheduled_at, :now,
    CASE WHEN :scheduled_at > :now THEN 'time' END)
RETURNING id
"""

# True if the worker is registered, and the due time of the next job.
OUTLOOK = """
SELECT
    EXISTS (SELECT 1 FROM procrastinate_workers WHERE id = :worker_id) AS known,
    (
        SELECT scheduled_at FROM procrastinate_jobs WHERE status = 'todo' AND waits_for = 'time'
        ORDER BY scheduled_at LIMIT 1
    ) AS due
"""

# The first listener from :place on that may have a job to start.
READY = """
SELECT listener FROM procrastinate_jobs WHERE status = 'todo' AND waits_for IS NULL AND listener >= :place
AND (:queues IS NULL OR queue_name IN (SELECT value FROM json_each(:queues)))
ORDER BY listener, priority DESC, id LIMIT 1
"""

# The listeners from :place on that may have a job to start.
ALL_READY = """
WITH RECURSIVE ready (listener) AS (
    SELECT min(listener) FROM procrastinate_jobs
    WHERE status = 'todo' AND waits_for IS NULL AND listener >= :place
    UNION ALL
    SELECT (
        SELECT min(job.listener) FROM procrastinate_jobs AS job
        WHERE status = 'todo' AND waits_for IS NULL AND job.listener > ready.listener
    ) FROM ready WHERE ready.listener IS NOT NULL
)
SELECT listener FROM ready WHERE listener IS NOT NULL LIMIT :limit
"""

# Clears the note of due jobs, 100 at a time to keep the transaction short.
ANY_DUE = """
SELECT 1 FROM procrastinate_jobs WHERE status = 'todo' AND waits_for = 'time' AND scheduled_at <= :now LIMIT 1
"""
COME_DUE = """
UPDATE procrastinate_jobs SET waits_for = NULL WHERE id IN (
    SELECT id FROM procrastinate_jobs WHERE status = 'todo' AND waits_for = 'time' AND scheduled_at <= :now
    ORDER BY scheduled_at LIMIT 100
)
"""

# A listener's first job without a note, and the note it gets by procrastinate's rule.
CANDIDATE = """
SELECT id, CASE
    WHEN scheduled_at > :now THEN 'time'
    WHEN EXISTS (SELECT 1 FROM procrastinate_jobs AS other WHERE other.lock = job.lock AND other.status = 'doing')
        OR id <> (
            SELECT other.id FROM procrastinate_jobs AS other WHERE other.lock = job.lock AND other.status = 'todo'
            ORDER BY other.priority DESC, other.id LIMIT 1
        )
    THEN 'lock'
END AS waits_for
FROM procrastinate_jobs AS job WHERE status = 'todo' AND waits_for IS NULL AND listener = :listener
AND (:queues IS NULL OR queue_name IN (SELECT value FROM json_each(:queues)))
ORDER BY priority DESC, id LIMIT 1
"""
NOTE = "UPDATE procrastinate_jobs SET waits_for = :waits_for WHERE id = :id"
# No job for a worker that is not registered: other workers have declared it dead.
START = f"""
UPDATE procrastinate_jobs SET status = 'doing', worker_id = :worker_id
WHERE id = :id AND EXISTS (SELECT 1 FROM procrastinate_workers AS worker WHERE worker.id = :worker_id)
RETURNING {_JOB}, listener
"""

OWN = "SELECT 1 FROM procrastinate_jobs WHERE id = :job_id AND status = 'doing' AND worker_id = :worker_id"
DELETE = "DELETE FROM procrastinate_jobs WHERE id = :job_id AND status IN ('todo', 'doing') RETURNING id"
FINISH = """
UPDATE procrastinate_jobs
SET status = :status, abort_requested = FALSE, attempts = attempts + (status = 'doing')
WHERE id = :job_id AND status IN ('todo', 'doing') RETURNING id
"""
FAIL_ABORTED = """
UPDATE procrastinate_jobs SET status = 'failed'
WHERE id = :job_id AND status = 'doing' AND abort_requested RETURNING id
"""
RETRY = """
UPDATE procrastinate_jobs
SET status = 'todo', attempts = attempts + 1, scheduled_at = :scheduled_at,
    waits_for = CASE WHEN :scheduled_at > :now THEN 'time' END,
    priority = coalesce(:new_priority, priority), queue_name = coalesce(:new_queue_name, queue_name),
    lock = coalesce(:new_lock, lock)
WHERE id = :job_id AND status IN ('doing', 'failed') RETURNING id
"""
BRING_BACK = """
UPDATE procrastinate_jobs SET scheduled_at = :now, waits_for = NULL
WHERE status = 'todo' AND waits_for = 'time' AND id IN (SELECT value FROM json_each(:job_ids))
"""
ORPHANS = "SELECT id FROM procrastinate_jobs WHERE status = 'doing' AND worker_id IS NULL"

DELETE_WAITING = "DELETE FROM procrastinate_jobs WHERE id = :job_id AND status = 'todo' RETURNING id"
CANCEL = "UPDATE procrastinate_jobs SET status = 'cancelled' WHERE id = :job_id AND status = 'todo' RETURNING id"
ABORT = """
UPDATE procrastinate_jobs
SET abort_requested = TRUE, status = CASE status WHEN 'todo' THEN 'cancelled' ELSE status END
WHERE id = :job_id AND status IN ('todo', 'doing') RETURNING id
"""

REGISTER = "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (:now) RETURNING id AS worker_id"
BEAT = "UPDATE procrastinate_workers SET last_heartbeat = :now WHERE id = :worker_id RETURNING id"
# A heartbeat in the future is older than the change of a clock that was set back.
STALLED = "SELECT id FROM procrastinate_workers WHERE abs(:now - last_heartbeat) > :seconds * 1000000"
DISOWN = "UPDATE procrastinate_jobs SET worker_id = NULL WHERE worker_id = :worker_id"
FORGET_IDLE = """
DELETE FROM procrastinate_workers AS worker WHERE last_heartbeat < :now - :seconds * 1000000
AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs AS job WHERE job.worker_id = worker.id AND status = 'doing')
"""
UNREGISTER = "DELETE FROM procrastinate_workers WHERE id = :worker_id"
