"""The API of the event log as scripts use it: true to its document, and with actions that outlive requests."""

import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.tables import DEAD
from tests.support.databases import opened
from tests.support.durable import database_url, postgresql_server, postgresql_url, statuses, tables
from tests.support.event_log import PASSWORD, basic
from tests.support.recording import change, entry
from tests.support.schemathesis_run import CONFORMANCE, schemathesis
from tests.support.servers import KIT, run_server
from tests.support.waiting import wait_until

__all__ = ["database_url", "postgresql_server", "postgresql_url", "tables"]  # fixtures

ROOT = Path(__file__).parents[2]
ADA = basic("ada", PASSWORD)


@contextmanager
def served(database_url, folder):
    """The event log of a database, at a free port."""
    settings = {"EXTENSION_EVENT_LOG_PORT": 0, "EXTENSION_EVENT_LOG_PASSWORD": PASSWORD}
    command = [KIT, "event-log"]
    with run_server(command, folder / "log", cwd=folder, EXTENSION_DATABASE_URL=database_url, **settings) as server:

        def address():
            assert server.process.poll() is None, server.log
            return re.search(r"Event log at (http://\S+:(\d+))/", server.log)

        server.url, server.port = wait_until(address).groups()
        yield server


@pytest.fixture
def dead_letters(database_url):
    """Many dead letters."""
    with opened(database_url) as database:
        for first in range(0, 20_000, 5000):
            Outbox(database).record(
                [entry(str(first + n), "oncall.page@/page", name="job.failed") for n in range(5000)]
            )
        change(database, status=DEAD, stage=None, error="no answer", ended_at=datetime.now(UTC))
    return database_url


def get(server, path):
    reply = server.request("GET", path, headers=ADA)
    assert reply.status == 200, reply.body
    return reply.json


def replay_all(server):
    reply = server.post("/api/deliveries/replay", {"filter": {}, "expected": 20_000}, ADA)
    assert reply.status == 202, reply.body
    return reply.headers["location"]


def test_the_server_does_what_its_document_says(database_url, tmp_path):
    with opened(database_url) as database:
        Outbox(database).record([entry(str(n), "oncall.page@/page", name=f"job.{n}") for n in range(20)])
    with served(database_url, tmp_path) as server:
        document = get(server, "/api/openapi.json")
        # A condition is described more simply than it is checked.
        run = schemathesis(server, document, tmp_path, checks=CONFORMANCE, headers=ADA)
        assert run.returncode == 0, run.stdout + run.stderr
        number = sum(len(methods) for methods in document["paths"].values())
        assert f"{number} selected / {number} total" in run.stdout
        assert "Traceback" not in server.log


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_scripts_of_the_documentation_do_what_it_says(database_url, tmp_path):
    section = (ROOT / "docs" / "operations.md").read_text().partition("## Event log: scripts")[2].partition("\n## ")[0]
    listing, replaying = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    with opened(database_url) as database:
        names = [*(f"experiment.execution.{end}" for end in ("failed", "errored", "failed")), "job.failed"]
        Outbox(database).record([entry(str(number), name=name) for number, name in enumerate(names)])
        change(database, status=DEAD, stage=None, error="no answer", ended_at=datetime.now(UTC))
    with served(database_url, tmp_path) as server:

        def run(script):
            script = script.replace("http://localhost:8082", server.url)
            environment = {**os.environ, "EXTENSION_EVENT_LOG_PASSWORD": PASSWORD}
            done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        listed = run(listing)
        assert [each["event"] for each in listed["deliveries"]] == names[2::-1]
        assert listed["count"] == {"number": 3, "is_exact": True}
        action = run(replaying)
        assert (action["kind"], action["made_by"], action["expected"]) == ("replay", "ada (by password)", 3)
        wait_until(lambda: get(server, f"/api/actions/{action['ref']}")["state"] == "done")
    assert statuses(database_url) == {"waiting": 3, "dead": 1}


def test_an_action_of_a_server_that_is_told_to_stop_says_so(dead_letters, tmp_path):
    with served(dead_letters, tmp_path) as server:
        action = replay_all(server)
        assert server.stop() == 128 + signal.SIGTERM
    left = statuses(dead_letters)
    with served(dead_letters, tmp_path) as server:
        row = get(server, action)
        assert (row["state"], row["made_by"]) == ("failed", "ada (by password)")
        assert "was stopped" in row["error"]
        assert row["changed"] == 20_000 - left["dead"] == left.get("waiting", 0)


def test_an_action_of_a_server_that_is_killed_is_known_to_have_changed_so_many(dead_letters, tmp_path):
    with served(dead_letters, tmp_path) as server:
        action = replay_all(server)
        wait_until(lambda: get(server, action)["changed"])
        server.kill_all()
    with served(dead_letters, tmp_path) as server:
        row = get(server, action)
        assert row["ended_at"] is None
        assert row["changed"] <= 20_000 - statuses(dead_letters)["dead"] <= row["changed"] + 500
        found = get(server, "/api/deliveries?status=dead&limit=1")["deliveries"]
        again = server.post("/api/deliveries/replay", {"refs": [found[0]["ref"]]}, ADA)
        assert again.status == 202
        wait_until(lambda: get(server, again.headers["location"])["state"] == "done")
