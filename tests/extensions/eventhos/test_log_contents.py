"""Contents of the event log: the keys of rows, events and executions, and their encryption in the database."""

import re

import pytest
from sqlalchemy import select, update

from extensions.eventhos.tables import actions, contracts, events, executions, received
from tests.extensions.eventhos.making import ended
from tests.extensions.eventhos.managing import row as row_of
from tests.support.receivers import reply

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


@pytest.fixture
def logged(world, receiver, working):
    """The row of an event in the log, whose only contract was processed."""
    there = receiver(answer=lambda request: reply(201, b'{"made": "answered-word"}', X_Made="yes"))
    template = {"headers": {"X-Name": "${.body.name}"}, "params": {"n": "7"}, "body": {"who": "${.body.name}"}}
    id = world.add_contract(there.url("/a", "127.0.0.1"), 3, template=template, mail_recipients="a@x.test")
    with world.api.database.transaction() as connection:
        for table in (events, actions):
            connection.execute(update(table).values(operation="new", description=f"of {table.name}"))
        connection.execute(update(contracts).values(name="C"))
    with working(world.api):
        world.send({"name": "sent-word"}, headers={"X-Trace": "T1"}, extra="e")
        (row,) = ended(world, 1)
    world.contract = row_of(world.api, contracts, id)
    world.action = row_of(world.api, actions, world.contract.action)
    world.url = there.url("/a?n=7", "127.0.0.1")
    return row


def test_a_row_has_the_event_its_producer_and_states(world, logged):
    system = world.api.ask("GET", f"/system/{world.system}")["content"]
    assert re.fullmatch(TIME, logged.pop("receivedAt"))
    assert logged == {
        "id": logged["id"],
        "systemId": world.system,
        "eventId": world.event,
        "systemName": system["name"],
        "systemIdentifier": system["identifier"],
        "eventName": world.identifier,
        "eventIdentifier": world.identifier,
        "eventDescription": "of eventhos_events",
        "received_request": "",
        "retryOfId": None,
        "state": ["processed"],
    }


def test_an_event_has_its_request_and_its_contracts(world, logged):
    content = world.api.ask("GET", f"/event/received/{logged['id']}")["content"]
    request = content["receivedEvent"].pop("received_request")
    (execution,) = content.pop("executedEventContracts")
    assert re.fullmatch(TIME, content["receivedEvent"].pop("received_at"))
    assert content == {
        "receivedEvent": {
            "id": logged["id"],
            "eventId": world.event,
            "eventIdentifier": world.identifier,
            "eventName": world.identifier,
            "eventOperation": "new",
            "eventDescription": "of eventhos_events",
            "retryOfId": None,
            "retryOfDetailId": None,
        }
    }
    assert request.pop("headers")["x-trace"] == "T1"
    assert request == {
        "query": {"event-identifier": world.identifier, "extra": "e"},
        "body": {"name": "sent-word"},
        "method": "POST",
        "url": f"/event/send?event-identifier={world.identifier}&extra=e",
    }
    assert execution == {
        "detailId": execution["detailId"],
        "state": "processed",
        "attempts": 0,
        "calls": 1,
        "isAborted": 0,
        "contractId": world.contract.id,
        "contractIdentifier": world.contract.identifier,
        "contractName": "C",
        "actionId": world.action.id,
        "actionIdentifier": world.action.identifier,
        "actionName": world.action.name,
        "actionOperation": "new",
        "actionDescription": "of eventhos_actions",
    }


def test_an_execution_has_the_columns_of_its_contract_its_request_and_its_response(world, logged):
    detail = world.executions(logged["id"])[0]["detailId"]
    content = world.execution(detail)
    assert world.api.ask("GET", f"/event/received/execution-detail/{detail}")["content"] == content
    request, response = content.pop("request"), content.pop("response")
    assert all(re.fullmatch(TIME, content.pop(name)) for name in ("created_at", "updated_at", "finished_at"))
    assert content.pop("seconds") > 0
    assert content == {
        "id": world.contract.id,
        "contract_id": world.contract.id,
        "contract_exc_detail_id": detail,
        "received_event_id": logged["id"],
        "state": "processed",
        "attempts": 0,
        "calls": 1,
        "is_aborted": 0,
        "reply_from": None,
        "reply_from_id": None,
        "event_id": world.event,
        "action_id": world.action.id,
        "identifier": world.contract.identifier,
        "name": "C",
        "active": 1,
        "order": 3,
        "deleted": 0,
        "mail_recipients_on_error": "a@x.test",
    }
    assert request.pop("headers")["X-Name"] == "sent-word"
    assert request == {"body": {"who": "sent-word"}, "url": world.url, "method": "POST"}
    assert response.keys() == {"headers", "body", "status", "statusText", "startTime", "endTime"}
    assert (response["status"], response["statusText"]) == (201, "Created")
    assert response["body"] == {"made": "answered-word"}
    assert {name.lower(): value for name, value in response["headers"].items()}["x-made"] == "yes"
    assert response["startTime"] <= response["endTime"]


def test_requests_and_answers_are_encrypted_in_the_database(world, logged):
    with world.api.database.read() as connection:
        stored = f"{connection.execute(select(received)).all()}{connection.execute(select(executions)).all()}"
    assert f"{world.contract.id}" in stored
    assert "sent-word" not in stored
    assert "answered-word" not in stored
