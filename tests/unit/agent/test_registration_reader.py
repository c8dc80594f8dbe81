import json

import pytest

from extension_kit.agent.registration_reader import Listener, RegistrationDocument

ALL = {"method": "POST", "path": "/events/all", "listenTo": ["*"]}


def parse(*listeners: object) -> RegistrationDocument:
    return RegistrationDocument.parse(json.dumps({"eventListeners": listeners}).encode())


@pytest.mark.parametrize(
    ("listen_to", "event_name", "wanted"),
    [
        (["*"], "experiment.execution.created", True),
        (["*"], "something.nobody.knows", True),
        (["*"], None, True),
        (["killswitch.engaged", "*"], "experiment.execution.created", True),
        (["experiment.execution.created"], "experiment.execution.created", True),
        (["experiment.execution.created"], "experiment.execution.completed", False),
        (["experiment.execution.created"], "EXPERIMENT.EXECUTION.CREATED", False),
        (["experiment.execution.created"], "experiment.execution.created.more", False),
        (["experiment.execution.created"], None, False),
        (["experiment.execution.created"], ["experiment.execution.created"], False),
        (["experiment.execution.*"], "experiment.execution.created", False),
        ([], "experiment.execution.created", False),
    ],
)
def test_agents_know_exact_names_and_a_single_star(listen_to, event_name, wanted):
    registration = parse({**ALL, "listenTo": listen_to})
    assert bool(registration.select(event_name, "leader")) is wanted


@pytest.mark.parametrize(
    ("restrict_to", "roles"),
    [
        ("leader", {"leader"}),
        ("any", {"leader", "follower", "aws"}),
        ("aws", {"aws"}),
        ("", {"leader"}),
        (None, {"leader"}),
    ],
)
def test_restrict_to_decides_which_agents_call(restrict_to, roles):
    registration = parse({**ALL, "restrictTo": restrict_to})
    assert {role for role in ("leader", "follower", "aws") if registration.select("x", role)} == roles


def test_a_listener_without_restrict_to_is_for_the_leader():
    registration = parse(ALL)
    assert registration.select("x", "leader")
    assert not registration.select("x", "follower")


def test_methods_are_understood_in_any_case():
    registration = parse({**ALL, "method": "post"}, {**ALL, "method": "Put"}, {**ALL, "method": "DELETE"})
    assert [listener.method for listener in registration.listeners] == ["POST", "PUT", "DELETE"]
    assert registration.problems == ()


@pytest.mark.parametrize("document", [{}, {"eventListeners": None}, {"eventListeners": []}, {"actions": []}])
def test_an_extension_without_listeners_is_fine(document):
    registration = RegistrationDocument.parse(json.dumps(document).encode())
    assert registration == RegistrationDocument()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html>", "not JSON"),
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"eventListeners": {}}', "eventListeners is not a list"),
        (b'{"eventListeners": "x"}', "eventListeners is not a list"),
    ],
)
def test_a_document_that_cannot_be_understood_is_one_problem(body, problem):
    registration = RegistrationDocument.parse(body)
    assert registration.listeners == ()
    assert len(registration.problems) == 1
    assert problem in registration.problems[0]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (None, "eventListeners[1] is not an object"),
        ("/events", "eventListeners[1] is not an object"),
        ({"path": "/x", "listenTo": ["*"]}, "eventListeners[1].method must be POST, PUT or DELETE, not None"),
        ({**ALL, "method": "GET"}, "eventListeners[1].method must be POST, PUT or DELETE, not 'GET'"),
        ({**ALL, "method": 1}, "eventListeners[1].method must be POST, PUT or DELETE, not 1"),
        ({"method": "POST", "listenTo": ["*"]}, "eventListeners[1].path must begin with /, not None"),
        ({**ALL, "path": "events"}, "eventListeners[1].path must begin with /, not 'events'"),
        ({**ALL, "path": "http://elsewhere/"}, "eventListeners[1].path must begin with /, not 'http://elsewhere/'"),
        ({"method": "POST", "path": "/x"}, "eventListeners[1].listenTo must be a list of event names, not None"),
        ({**ALL, "listenTo": "*"}, "eventListeners[1].listenTo must be a list of event names, not '*'"),
        ({**ALL, "listenTo": ["*", 1]}, "eventListeners[1].listenTo must be a list of event names, not ['*', 1]"),
        ({**ALL, "restrictTo": ["any"]}, "eventListeners[1].restrictTo must be a string, not ['any']"),
    ],
)
def test_a_listener_that_cannot_be_called_is_left_out_and_named(entry, problem):
    registration = parse(ALL, entry)
    assert [listener.path for listener in registration.listeners] == ["/events/all"]
    assert registration.problems == (problem,)


def test_every_problem_of_a_listener_is_named():
    assert len(parse({"restrictTo": 1}).problems) == 4


def test_a_pattern_is_a_problem_but_its_listener_still_gets_the_names_beside_it():
    registration = parse({**ALL, "listenTo": ["killswitch.*", "user.invited"]})
    assert registration.select("user.invited", "leader")
    assert registration.problems == (
        "eventListeners[0].listenTo: agents know whole names and * alone, not killswitch.*",
    )


def test_each_endpoint_is_called_once_for_an_event_however_often_it_is_listed():
    registration = parse(
        {**ALL, "listenTo": ["user.invited"]},
        {**ALL, "path": "/other"},
        {**ALL, "listenTo": ["user.invited", "killswitch.engaged"]},
        {**ALL, "method": "PUT"},
    )
    endpoints = [listener.endpoint for listener in registration.select("user.invited", "leader")]
    assert endpoints == ["POST /events/all", "POST /other", "PUT /events/all"]
    assert len(registration.select("killswitch.engaged", "leader")) == 3


def test_keys_of_other_kits_and_of_the_future_are_ignored():
    registration = RegistrationDocument.parse(
        json.dumps({"actions": [{"method": "GET"}], "eventListeners": [{**ALL, "label": "new"}]}).encode()
    )
    assert registration == RegistrationDocument((Listener("POST", "/events/all", ("*",), "leader"),))
