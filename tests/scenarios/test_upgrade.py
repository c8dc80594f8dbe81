"""A database that release 0.1 left is upgraded in place, and what waits in it is delivered, once and in order."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from extension_kit.deliveries.state import StoredState
from extension_kit.deliveries.tables import deliveries
from extension_kit.store.database import Database
from tests.support.commands import extension_kit
from tests.support.databases import postgresql_server
from tests.support.paths import BIN, KIT
from tests.support.receivers import receiver
from tests.support.release_0_1 import ROWS, write_database
from tests.support.servers import run_server
from tests.support.tapis_tokens import SECRET
from tests.support.used import postgresql_database
from tests.support.waiting import wait_until

__all__ = ["receiver"]  # fixtures
TAPIS = BIN.parent.parent / "extensions" / "tapis"
# As the file stood when the rows were written.
HANDLERS = """
from extension_kit import Event, Extension, GiveUp

extension = Extension("extension-oncall")


@extension.listen_to("experiment.execution.completed")
def record(event: Event) -> None:
    pass


@extension.listen_to("experiment.execution.failed")
def page(event: Event) -> None:
    raise GiveUp("nobody is on call")


@extension.listen_to("experiment.execution.created", retry=[86400, 86400])
def announce(event: Event) -> None:
    event.state.set(f"announced/{event.id}", True)
    print(f"announced {event.id}", flush=True)
"""
LATER = [row["ref"] for row in ROWS["deliveries"] if row["listener"].startswith("handlers.announce")]
"""Deliveries that wait for their next attempt."""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/extension.db"
        return
    with postgresql_server() as server, postgresql_database(server) as url:
        yield url


def test_what_waits_is_delivered(url, tmp_path, receiver):
    hook = receiver()
    rows = json.loads(json.dumps(ROWS).replace("http://127.0.0.1:1/hook", hook.url("/hook", "127.0.0.1")))
    for row in rows["deliveries"]:
        if row["ref"] in LATER:
            row["due_at"] = (datetime.now(UTC) + timedelta(days=1)).replace(tzinfo=None).isoformat(" ")
    write_database(url, rows)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    environment = {
        "EXTENSION_DATABASE_URL": url,
        "EXTENSION_RETENTION_DAYS": "36500",  # the rows grow older
        "EXTENSION_TAPIS_JWT_SECRET": SECRET,
        "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
    }

    def run(*arguments):
        done = extension_kit(*arguments, cwd=tmp_path, **environment)
        assert done.returncode == 0, done.stderr

    run("db", "upgrade", TAPIS)
    run("deliveries", "rebuild")  # the rows come without the jobs of the queue
    command = [KIT, "worker", str(TAPIS), "handlers.py"]
    with run_server(command, tmp_path / "log", cwd=tmp_path, **environment) as worker:
        wait_until(lambda: len(hook.requests) == 2)
        run("deliveries", "retry-now", *map(str, LATER))
        wait_until(lambda: worker.log.count("announced ") == 2)
        wait_until(lambda: statuses(url) == expected(rows))
    assert len(announced(url)) == 2
    sent = [json.loads(request.body) for request in hook.requests]
    assert [each["event"]["seriesSeqCount"] for each in sent] == [1, 2]
    assert {each["subscriptionName"] for each in sent} == {"mine"}
    assert "Deliveries without a function" not in worker.log


def statuses(url):
    database = Database(url)
    with database.read() as connection:
        found = {row.ref: row.status for row in connection.execute(select(deliveries.c.ref, deliveries.c.status))}
    database.dispose()
    return found


def announced(url):
    """The keys that the handlers have kept."""
    database = Database(url)
    keys = StoredState(database, "extension-oncall").keys("announced/", 10)
    database.dispose()
    return keys


def expected(rows):
    """What has waited is delivered, but for the mails, for which there is no server."""
    mails = {f"subscription:{row['ref']}" for row in rows["subscriptions"] if row["sender"] == "email"}
    return {
        row["ref"]: row["status"] if row["status"] != "waiting" or row["listener"] in mails else "delivered"
        for row in rows["deliveries"]
    }
