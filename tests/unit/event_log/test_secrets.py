"""Secrets in texts from outside: no page and no answer of the API has them."""

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from extension_kit.agent.factory import EventFactory
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.tables import DEAD, attempts
from tests.support.event_log import OPEN, Browser
from tests.support.recording import all_of, change, entry

NOW = datetime.now(UTC)
NAME = "experiment.execution.failed"
LONG = f"{'x' * 180} https://user:{'hush' * 20}@example.com/ is away"
SAID = "GET https://user:hush@example.com/?token=hush failed: password=hush"
PATHS = (
    "/ /events /events/1 /events/1/body /deliveries /deliveries/1 /deliveries/2 /runs /runs/{} /api/overview "
    "/api/events/1 /api/deliveries /api/deliveries/1 /api/runs/{}"
)


@pytest.fixture
def run(database):
    """The subject of a run whose events and deliveries tell secrets wherever people write texts."""
    body = next(each for each in EventFactory(seed=3).events(100) if each["eventName"] == NAME)
    execution = body["experimentExecution"]
    execution.update(name=SAID, hypothesis=SAID, reason=SAID, reasonDetails=SAID)
    subject = f"{execution['experimentKey']}/{execution['executionId']}"
    Outbox(database).record([entry("1", "a", "b", name=NAME, subject=subject, body=json.dumps(body).encode())])
    first, second = (row.ref for row in all_of(database))
    for ref, error in ((first, SAID), (second, LONG)):
        change(database, [ref], status=DEAD, stage=None, attempts=1, error=error, ended_at=NOW)
    tried = {"delivery_ref": first, "number": 1, "started_at": NOW, "ended_at": NOW, "result": "failed"}
    said = {"error": SAID, "excerpt": f'{{"apiKey": "hush"}} {SAID}'}
    with database.transaction() as connection:
        connection.execute(insert(attempts), [{**tried, **said}])
    return subject


@pytest.mark.parametrize("path", PATHS.split())
def test_they_are_hidden(app_of, database, run, path):
    shown = Browser(app_of(database, **OPEN)).get(path.format(run))

    assert shown.status_code == 200
    assert "hus" not in shown.text


def test_dead_letters_are_found_by_the_rest_of_their_error(app_of, database, run):
    browser = Browser(app_of(database, **OPEN))

    groups = browser.get("/api/overview").json["dead_by_listener_and_error"]

    assert len(groups) == 2
    for group in groups:
        assert group["error"].startswith(group["contains"])
        wanted = {"listener": group["listener"], "error": group["contains"]}
        assert browser.get("/api/deliveries", query_string=wanted).json["count"]["number"] == 1
