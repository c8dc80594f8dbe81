"""The page of event listeners in the event log, and the facts of Pulp's events."""

import json

import pytest

from extension_kit.protocol import BadPlace
from extensions.pulp import extension
from extensions.pulp.event_facts import find_facts
from extensions.pulp.log_page import read_listeners
from extensions.pulp.settings import PulpSettings
from tests.support.log_clients import log_client


@pytest.fixture
def rows(api):
    """All rows of all pages."""

    def rows(limit=50):
        place, found = None, []
        while True:
            with api.database.read() as connection:
                table = read_listeners(connection, PulpSettings(), place, limit)
            assert len(table.rows) <= limit
            found += [dict(zip(table.columns, row, strict=True)) for row in table.rows]
            if (place := table.next) is None:
                return found

    return rows


def test_listeners_have_recipients_types_and_numbers_of_deliveries(api, rows):
    api.create(event_types=["repo.sync.start"])
    mail = {"addresses": [f"{name}@example.com" for name in "abcde"], "subject": "pulp"}
    api.create(notifier_type_id="email", notifier_config=mail, event_types=["*"])
    api.create(notifier_type_id="amqp", notifier_config={}, event_types=["repo.sync.start", "repo.sync.finish"] * 2)
    api.notify("repo.sync.start")
    names = ("Notifier", "Recipients", "Event types", "Waiting deliveries", "Dead letters")
    assert [tuple(row[name] for name in names) for row in rows()] == [
        ("amqp", "amq.topic", "repo.sync.start, repo.sync.finish, repo.sync.start, 1 more", 1, 0),
        ("email", "a@example.com, b@example.com, c@example.com, 2 more", "*", 5, 0),
        ("http", "http://localhost/api", "repo.sync.start", 1, 0),
    ]


@pytest.mark.parametrize("config", [{}, {"url": None}, {"url": ["a"]}, {"url": 7}])
def test_configurations_are_shown_as_they_are(api, rows, config):
    api.create(notifier_config=config)
    (row,) = rows()
    assert row["Recipients"] == str(config.get("url") or "")


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_listeners_are_all_on_one_page_or_the_other(api, rows, limit):
    made = [api.create()["id"] for _ in range(5)]
    assert [row["Listener"] for row in rows(limit)] == made[::-1]


@pytest.mark.parametrize("place", ["", "x", "-1", "²", "9223372036854775808"])
def test_other_places_are_refused(api, place):
    with api.database.read() as connection, pytest.raises(BadPlace):
        read_listeners(connection, PulpSettings(), place, 50)


def test_facts_are_those_of_the_repository_and_its_task():
    payload = {
        "repo_id": "zoo",
        "result": "failed",
        "started": "2026-11-21T10:00:00Z",
        "completed": "2026-11-21T10:01:00Z",
    }
    body = {"event_type": "repo.sync.finish", "payload": payload, "call_report": {"task_id": "7"}}
    found = dict(find_facts(json.dumps(body).encode()))
    assert (found["Repository"], found["Result"], found["Task"]) == ("zoo", "failed", "7")
    assert (found["Completed"] - found["Started"]).total_seconds() == 60
    nothing = find_facts(json.dumps({"event_type": "a", "payload": [], "call_report": None}).encode())
    assert [value for _, value in nothing] == [None] * 5


def test_the_event_log_shows_the_page_without_passwords(api):
    config = {"url": "https://localhost/<b>?token=hush", "username": "me", "password": "hush"}
    api.create(notifier_config=config)
    with log_client(api.database, extension) as client:
        shown = client.get("/protocols/pulp/listeners").text
        assert "https://localhost/&lt;b&gt;?token=***" in shown
        assert "hush" not in shown + client.get("/api/protocols/pulp/listeners").text
