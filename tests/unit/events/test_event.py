from datetime import UTC, datetime

import pytest

from extension_kit import Event
from tests.support.events import BODY, event


def test_the_envelope():
    it = event()
    assert (it.id, it.name, it.source, it.subject) == (BODY["id"], BODY["eventName"], "steadybit", "ADM-4/34")
    assert it.time == datetime(2021, 9, 1, 12, tzinfo=UTC)
    assert (it.tenant.key, it.tenant.name) == ("exmpl", "Example Inc.")
    assert (it.team.id, it.team.key, it.team.name) == (None, "ADM", "Administrators")
    assert (it.environment.id, it.environment.name) == ("STG", "Staging")


@pytest.mark.parametrize("key", ["experimentKey", "executionId"])
def test_a_subject_needs_both_its_parts(key):
    assert event(experimentExecution={**BODY["experimentExecution"], key: None}).subject is None


def test_what_is_not_there_is_none():
    it = Event.from_body({"id": "1", "eventName": "killswitch.engaged", "principal": None})
    assert it.time is it.tenant is it.team is it.environment is it.principal is it.subject is None
    assert it.experiment_execution is it.experiment_step_execution is it.experiment_step_target_execution is None
    assert it.remaining_time is None


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("experiment.execution.completed", {"experiment"}),
        ("experiment.execution.step-started", {"step"}),
        ("experiment.execution.target-failed", {"target"}),
        ("killswitch.engaged", {"killswitch"}),
        ("user.invited", set()),
        ("", set()),
    ],
)
def test_families(name, families):
    it = event(eventName=name)
    flags = {"experiment": it.is_experiment, "step": it.is_step, "target": it.is_target, "killswitch": it.is_killswitch}
    assert {family for family, flag in flags.items() if flag} == families


def test_the_body_is_untouched():
    body = b' { "eventName" : "a", "id":"1", "x": null } '
    assert Event.from_body(body).body is body
    assert Event.from_body(body).raw == {"eventName": "a", "id": "1", "x": None}


def test_an_event_says_what_it_is():
    assert repr(event()) == f"Event(name='experiment.execution.completed', id='{BODY['id']}')"
