"""CronEye's API in this process, and what is in the tables after a request."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import delete, select, text

from extension_kit.deliveries.tables import deliveries, events, series
from extension_kit.runtime.service import Service
from extension_kit.store.database import Database
from extension_kit.web.app import create_app
from extensions.croneye import CronEyeEvent
from extensions.croneye.settings import CronEyeSettings
from extensions.croneye.tables import jobs, log, metadata, runs, schedulers, users

TOKEN, OTHER_TOKEN = "secret", "old-secret"
EMAIL, PASSWORD = "admin@example.com", "correct horse"
SECRET = "a secret of the tests, which is long enough"
VARIABLES = {
    "EXTENSION_CRONEYE_TOKEN": f"{TOKEN}, {OTHER_TOKEN}",
    "EXTENSION_CRONEYE_ADMIN_EMAIL": EMAIL,
    "EXTENSION_CRONEYE_ADMIN_PASSWORD": PASSWORD,
    "EXTENSION_CRONEYE_SECRET": SECRET,
}
SETTINGS = CronEyeSettings(tokens=(TOKEN, OTHER_TOKEN), admin_email=EMAIL, admin_password=PASSWORD, secret=SECRET)
EXTENSION = str(Path(__file__).parents[3] / "extensions/croneye")


@dataclass
class Api:
    """The API, and a look into its tables."""

    service: Service
    database: Database
    token: str | None = None

    def __post_init__(self):
        self.app = create_app(self.service, embed_worker=False)
        self.client = self.app.test_client()

    def start_anew(self):
        """Have another process answer, which knows of no wrong password."""
        self.client = create_app(self.service, embed_worker=False).test_client()

    @property
    def kit(self):
        return self.service.runtime.kit

    def send(self, body=b"", headers=None, path="/event", **payload):
        """Post an event; `payload` is its body, unless there is one."""
        headers = {"Authorization": f"Token {TOKEN}"} if headers is None else headers
        return self.client.post(path, data=body or json.dumps(payload), headers=headers)

    def take(self, *payloads):
        for payload in payloads:
            assert self.send(**payload).status_code == 200, payload

    def rows(self, table, *columns):
        """The rows of a table in the order they came, as mappings, or as tuples of some columns."""
        ordered = select(*(table.c[column] for column in columns)) if columns else select(table)
        with self.database.read() as connection:
            found = connection.execute(ordered.order_by(*table.primary_key)).all()
        return [tuple(row) for row in found] if columns else [row._mapping for row in found]

    @property
    def jobs(self):
        return {row["job_id"]: row for row in self.rows(jobs)}

    @property
    def job(self):
        (row,) = self.rows(jobs)
        return row

    @property
    def schedulers(self):
        return dict(self.rows(schedulers, "name", "status"))

    @property
    def log(self):
        return self.rows(log)

    @property
    def runs(self):
        """Start, end (both in seconds) and outcome of each run, by time."""
        found = self.rows(runs, "started_at", "ended_at", "outcome", "begun_at")
        return [
            (start and start.timestamp(), end and end.timestamp(), outcome)
            for start, end, outcome, _ in sorted(found, key=lambda run: run[3])
        ]

    @property
    def events(self):
        """What was published."""
        return [
            CronEyeEvent.of(
                source=row["source"],
                id=row["event_id"],
                name=row["name"],
                time=row["time"],
                subject=row["subject"],
                body=row["body"],
            )
            for row in self.rows(events)
        ]

    @property
    def is_empty(self):
        """Whether nothing is stored at all."""
        return not any(self.rows(table) for table in (schedulers, jobs, runs, log, events))

    def clear(self):
        """Empty the tables, but for the administrator's account."""
        self._delete(*(table for table in reversed(metadata.sorted_tables) if table is not users))
        self._delete(deliveries, events, series)

    def forget_the_account(self):
        self.token = None
        self._delete(users)

    def _delete(self, *tables):
        with self.database.transaction() as connection:
            for table in tables:
                connection.execute(delete(table))

    # The dashboards

    def log_in(self, email=EMAIL, password=PASSWORD):
        return self.client.post("/croneye/api/auth/login", json={"email": email, "password": password})

    def as_admin(self):
        """Headers of the administrator, who logs in once for many tests: checking a password takes long on purpose."""
        if self.token is None:
            self.token = self.log_in().json["auth_token"]
        return {"Authorization": f"Bearer {self.token}"}

    def ask(self, path, body=None, method="POST", headers=None):
        headers = headers or self.as_admin()
        return self.client.open(f"/croneye/api{path}", method=method, json=body, headers=headers)


def is_anybody_blocked(api):
    """Whether somebody waits for a lock of a row, on PostgreSQL."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with api.database.read() as connection:
        return connection.execute(text(waiting)).scalar() > 0


def at(seconds):
    return datetime.fromtimestamp(seconds, UTC)


def summary(api):
    data = api.ask("/dashboard/summary", {}).json["data"]
    assert list(data) == ["scheduler", "total_jobs", "running_jobs", "overrun_jobs", "lost_jobs"]
    return tuple(data.values())


def shown_jobs(api, body=None):
    data = api.ask("/dashboard/summary/jobs", body).json["data"]
    assert list(data) == ["jobs", "time_range"]
    return data["jobs"], data["time_range"]
