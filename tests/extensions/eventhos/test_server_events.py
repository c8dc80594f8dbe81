"""Events of this server as events of contracts: those of agents call other systems."""

import json

import pytest

from extension_kit.protocol import PublishedEvent
from tests.extensions.eventhos.making import ended
from tests.extensions.eventhos.managing import items, new_event, new_system

FAILED = "experiment.execution.failed"


@pytest.fixture
def event_of_failures(api):
    """The event of failed experiments, of this server: its number."""
    system = new_system(api, "producer", identifier="this-server")
    number = new_event(api, system, identifier=f"steadybit:{FAILED}")
    assert items(api, f"/event?systemId={system}")[0]["identifier"] == f"steadybit:{FAILED}"
    return number


@pytest.fixture
def failing(world, receiver, event_of_failures):
    """A contract of the event of failed experiments: its receiver."""
    there = receiver()
    template = {"body": {"who": "${.body.name}"}}
    world.add_contract(there.url("/", "127.0.0.1"), event=event_of_failures, template=template)
    return there


def publish(api, source="steadybit", id="1", name=FAILED):
    with api.kit.transaction() as transaction:
        transaction.publish(PublishedEvent.of(source=source, id=id, name=name, data={"name": "Ada"}))


def test_a_failed_experiment_calls_another_system_once(world, failing, working):
    with working(world.api):
        for _ in range(2):
            publish(world.api)
        (row,) = ended(world, 1)
    assert row["eventIdentifier"] == f"steadybit:{FAILED}"
    assert [json.loads(request.body) for request in failing.requests] == [{"who": "Ada"}]


def test_events_of_the_same_name_of_another_source_do_not(world, failing, working):
    with working(world.api):
        publish(world.api, source="other")
        publish(world.api)
        ended(world, 1)
    assert len(failing.requests) == 1


@pytest.mark.parametrize("identifier", ["steadybit:no.such.event", FAILED, f":{FAILED}", "eventhos:x"])
def test_what_cannot_arrive_is_refused(api, identifier):
    system = new_system(api, "producer", identifier="this-server")
    body = {"system_id": system, "identifier": identifier, "name": "x"}
    assert "is no event of this server" in api.refused("POST", "/event", body, status=400, code=400208)


def test_one_event_has_one_identifier(api, event_of_failures):
    system = items(api, "/system")[0]["id"]
    body = {"system_id": system, "identifier": f"steadybit:{FAILED}", "name": "x"}
    api.refused("POST", "/event", body, status=400, code=400209)


def test_a_deleted_event_is_not_heard(api, event_of_failures):
    api.ask("DELETE", f"/event/{event_of_failures}", status=201)
    publish(api)
    with api.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM deliveries").scalar_one() == 0
