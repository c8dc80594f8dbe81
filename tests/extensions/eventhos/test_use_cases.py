"""Use cases, from the client to the call, made through the API alone (U1 to U7, U10 to U12)."""

import json

import pytest

from tests.extensions.eventhos.making import Producer, ended
from tests.extensions.eventhos.managing import items, new_action, new_contract, new_event, new_system
from tests.support.receivers import reply
from tests.support.waiting import wait_until

TOKEN = "${.oauthResponse.body.content.access_token}"


@pytest.fixture
def there(receiver):
    """A consumer, which hands out tokens, too."""
    tokens = reply(200, b'{"content": {"access_token": "token_021"}}')
    return receiver(answer=lambda request: tokens if request.path == "/token" else reply(200, b'{"done": true}'))


@pytest.fixture
def oauth2(there):
    """Security of an action that gets a token of the consumer."""
    url = there.url("/token", "127.0.0.1")
    return {"securityType": 1, "securityUrl": url, "clientId": "me", "clientSecret": "the secret"}


@pytest.fixture
def system(api):
    """The id of a system that sends events and is called, with a client."""
    client = api.ask("POST", "/auth/client", {"identifier": "hr", "name": "HR"}, status=201)["content"]["id"]
    return new_system(api, "hybrid", clientId=client)


@pytest.fixture
def event(api, system):
    """The id of an event of the system."""
    return new_event(api, system)


@pytest.fixture
def producer(api, system, event):
    """Sends the event with a key of the system's client."""
    client = api.ask("GET", f"/system/{system}")["content"]["client_id"]
    key = api.ask("PUT", f"/auth/client/{client}/long-live", {"longLive": True}, status=201)["content"]["access_token"]
    return Producer(api, key, items(api, "/event")[0]["identifier"])


@pytest.fixture
def add(api, system, event, there):
    """Add an action that calls the consumer, and its contract: ``add(rawBody={})``; return the ids of both."""

    def add(path="/integration", *, order=0, **action):
        made = new_action(api, system, **{"url": there.url(path, "127.0.0.1"), **action})
        return made, new_contract(api, event, made, order=order)

    return add


def pairs(**values):
    return [{"key": key.replace("_", "-"), "value": value} for key, value in values.items()]


@pytest.mark.parametrize(
    ("action", "is_secured", "sent", "headers", "query", "body"),
    [
        pytest.param({}, False, None, {}, "", {}, id="U1"),
        pytest.param(
            {
                "headers": pairs(x_fixed="one", x_name="${.body.name}"),
                "queryUrlParams": pairs(a="two", b="${.body.id}"),
            },
            False,
            {"id": 7, "name": "Ada"},
            {"x-fixed": "one", "x-name": "Ada"},
            "?a=two&b=7",
            {"id": 7, "name": "Ada"},
            id="U2",
        ),
        pytest.param({"rawBody": {"integration": True}}, False, {"a": 1}, {}, "", {"integration": True}, id="U3"),
        pytest.param({"headers": pairs(token=TOKEN)}, True, {"a": 1}, {"token": "token_021"}, "", {"a": 1}, id="U4"),
        pytest.param(
            {"bodyExpression": "{sexo: body.sex == 'M' && `1` || `2`}"},
            False,
            {"sex": "M"},
            {},
            "",
            {"sexo": 1},
            id="U5",
        ),
    ],
)
def test_an_action_is_called_as_it_was_made(
    producer, add, there, oauth2, working, action, is_secured, sent, headers, query, body
):
    add(**action, **(oauth2 if is_secured else {}))
    assert producer.send(sent) == {"code": 200000, "message": "success"}
    with working(producer.api):
        (row,) = ended(producer, 1)
    *_, request = there.requests
    assert (request.method, request.path) == ("POST", f"/integration{query}")
    assert {name: request.headers[name] for name in headers} == headers
    assert json.loads(request.body) == body
    assert row["state"] == ["processed"]
    (execution,) = producer.executions(row["id"])
    response = producer.execution(execution["detailId"])["response"]
    assert (response["status"], response["statusText"], response["body"]) == (200, "OK", {"done": True})


def test_two_contracts_are_called_in_their_order(producer, add, there, working):
    add("/second", order=2)
    add("/first", order=1)
    producer.send({})
    with working(producer.api):
        (row,) = ended(producer, 1)
    assert [request.path for request in there.requests] == ["/first", "/second"]
    assert row["state"] == ["processed", "processed"]


def test_a_contract_is_called_while_it_is_active(producer, add, there, working):
    _, contract = add()
    with working(producer.api):
        for number, is_active in enumerate((True, False, True), 1):
            producer.api.ask("PUT", f"/contract/{contract}", {"active": is_active}, status=201)
            assert producer.send({"n": number})["code"] == (200000 if is_active else 200310)
        wait_until(lambda: [row["state"] for row in producer.log()] == [["processed"], [None], ["processed"]])
    assert sorted(json.loads(request.body)["n"] for request in there.requests) == [1, 3]


def test_a_changed_action_is_called_as_it_is_now(producer, add, there, oauth2, working):
    action, _ = add(body=pairs(token="none"))
    with working(producer.api):
        producer.send({})
        ended(producer, 1)
        url = there.url("/changed", "127.0.0.1")
        change = {"url": url, "method": "post", "headers": [], "queryUrlParams": [], "body": pairs(token=TOKEN)}
        producer.api.ask("PUT", f"/action/{action}", {**change, **oauth2}, status=201)
        producer.send({})
        ended(producer, 2)
    calls = [(request.path, json.loads(request.body)) for request in there.requests if request.path != "/token"]
    assert calls == [("/integration", {"token": "none"}), ("/changed", {"token": "token_021"})]


def test_the_newest_event_of_the_log_is_the_reply(producer, system, add, there, working):
    reply_event = new_event(producer.api, system, identifier="reply")
    identifier = next(each["identifier"] for each in items(producer.api, "/event") if each["id"] == reply_event)
    add(reply_to=identifier)
    new_contract(producer.api, reply_event, new_action(producer.api, system, url=there.url("/reply", "127.0.0.1")))
    producer.send({})
    with working(producer.api):
        ended(producer, 2)
    assert [row["eventIdentifier"] for row in producer.log()] == [identifier, producer.identifier]
    assert [(request.path, json.loads(request.body)) for request in there.requests] == [
        ("/integration", {}),
        ("/reply", {"done": True}),
    ]
