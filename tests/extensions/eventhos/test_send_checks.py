"""Checks of /event/send: the answer to each fault, and the order of the checks, in both profiles (T1 to T9)."""

from uuid import UUID

import pytest
from sqlalchemy import update

from extensions.eventhos.tables import clients, events, systems
from tests.extensions.eventhos.making import World
from tests.extensions.eventhos.managing import row

NOT_SENT = "Either the access key or the identifier for the event was not send."
UNKNOWN = "The event {} does not exist."
REVOKED = "The client access has been revoked: id: {}  client_id: {}"
ANSWERS = [
    ("too large", (413, 500000), (413, 500000), "request entity too large"),
    ("no JSON", (400, 500000), (400, 500000), "the body is not JSON: "),
    ("no key", (400, 400201), (400, 400201), NOT_SENT),
    ("no identifier", (400, 400201), (400, 400201), NOT_SENT),
    ("wrong key", (401, 401202), (401, 401201), "Incorrect token"),
    ("wrong token", (401, 401202), (401, 401202), "Incorrect token"),
    ("unknown event", (400, 400024), (400, 400202), UNKNOWN.format("nothing-here")),
    ("deleted event", (400, 400024), (400, 400202), UNKNOWN),
    ("no client", (404, 404201), (404, 404201), "The client does not exist."),
    ("deleted client", (404, 404201), (404, 404201), "The client does not exist."),
    ("key of another", (401, 401202), (401, 401201), "Incorrect token"),
    ("revoked client", (403, 403201), (403, 403201), REVOKED),
    ("no contract", (200, 200310), (203, 200310), "Success, but no contracts exists for this event"),
]
"""Each fault in the order of the checks, status and code of the profiles documented and upstream, and the message."""

FAULTS = [fault for fault, *_ in ANSWERS]
LIMIT = 100
CHANGES = {
    "deleted event": update(events).values(deleted=True),
    "no client": update(systems).values(client=None),
    "deleted client": update(clients).values(deleted=True),
    "revoked client": update(clients).values(revoked=True),
}


@pytest.fixture
def api(database, shared_apis, profile):
    return shared_apis(EXTENSION_EVENTHOS_PROFILE=profile, EXTENSION_EVENTHOS_MAX_BODY_BYTES=f"{LIMIT}")


def first_of(faults, values, otherwise):
    """Return the value of the first fault that has one."""
    return next((values[fault] for fault in FAULTS if fault in faults and fault in values), otherwise)


def send(world, faults):
    """Send the event of a producer with faults; return the status, the answer, and the producer's ``client_id``."""
    with world.api.database.transaction() as connection:
        for change in (CHANGES[fault] for fault in faults if fault in CHANGES):
            connection.execute(change)
    other = World(world.api, key="another-key")
    if "no contract" not in faults:
        world.add_contract("http://localhost/")
    keys = {"no key": "", "wrong key": "wrong", "wrong token": "a.b.c", "key of another": other.key}
    reply = world.api.client.post(
        "/event/send",
        data=first_of(faults, {"too large": b"{" * (LIMIT + 1), "no JSON": b"{"}, b"{}"),
        headers={"access-key": first_of(faults, keys, world.key)},
        query_string={
            "event-identifier": first_of(
                faults, {"no identifier": "", "unknown event": "nothing-here"}, world.identifier
            )
        },
        content_type="application/json",
    )
    return reply.status_code, reply.json, row(world.api, clients, world.client).client_id


@pytest.mark.parametrize("others", ["alone", "with all that are checked later"])
@pytest.mark.parametrize(("fault", "documented", "upstream", "message"), ANSWERS, ids=FAULTS)
def test_the_first_fault_is_told(world, profile, fault, documented, upstream, message, others):
    faults = [fault] if others == "alone" else FAULTS[FAULTS.index(fault) :]
    status, answer, client_id = send(world, faults)
    assert (status, answer["code"]) == (upstream if profile == "upstream" else documented)
    expected = message.format(*((world.client, client_id) if message is REVOKED else (world.identifier,)))
    assert answer["message"].startswith(expected)
    assert len(answer["message"]) == len(expected) or fault == "no JSON"
    is_accepted = fault == "no contract"
    assert answer.keys() == ({"code", "message"} if is_accepted else {"code", "message", "errorUUID"})
    assert len(world.log()) == is_accepted


def test_the_log_has_the_uuid_of_an_error(world, caplog):
    _, first, _ = send(world, ["wrong key"])
    assert UUID(first["errorUUID"]).version == 4
    assert f"Answered 401 {first['code']}, error {first['errorUUID']}" in caplog.text


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({"ACCESS-KEY": "{key}"}, {"event-identifier": "{identifier}"}, 200),
        ({}, {"access-key": "{key}", "event-identifier": "{identifier}"}, 200),
        ({"access-key": "{key}"}, {"access-key": "", "event-identifier": "{identifier}"}, 200),
        ({"access-key": "wrong"}, {"access-key": "{key}", "event-identifier": "{identifier}"}, 200),
        ({"access-key": "{key}"}, {"access-key": "wrong", "event-identifier": "{identifier}"}, 401),
        ({"access-key": "{key}", "event-identifier": "{identifier}"}, {}, 400),
        ({"access-key": "{key}"}, {"Event-Identifier": "{identifier}"}, 400),
        ({"Authorization": "Bearer {key}"}, {"event-identifier": "{identifier}"}, 400),
        ({}, {"event-identifier": "{identifier}"}, 400),
        ({"access-key": "{key}"}, {}, 400),
        ({}, {}, 400),
    ],
)
def test_the_key_is_a_header_or_a_parameter_and_the_identifier_a_parameter(world, profile, headers, query, status):
    world.add_contract("http://localhost/")
    headers, query = (
        {name: text.format(key=world.key, identifier=world.identifier) for name, text in pairs.items()}
        for pairs in (headers, query)
    )
    answer = world.api.ask("POST", "/event/send", {}, status=status, headers=headers, **query)
    is_upstream = profile == "upstream"
    codes = {200: 20000 if is_upstream else 200000, 400: 400201, 401: 401201 if is_upstream else 401202}
    assert answer["code"] == codes[status]
    assert answer["message"] == NOT_SENT or status != 400


@pytest.mark.parametrize(
    ("content_type", "body", "read"),
    [
        ("application/x-www-form-urlencoded", b'{"a": 1}', {"a": 1}),
        ("text/plain", b'{"a": 1}', {"a": 1}),
        (None, b'{"a": 1}', {"a": 1}),
        ("application/x-www-form-urlencoded", b"a=1", None),
        ("multipart/form-data; boundary=x", b"--x--", None),
        ("text/plain", b"plain", None),
    ],
)
def test_every_body_is_read_as_json(world, content_type, body, read):
    world.add_contract("http://localhost/")
    headers, query = {"access-key": world.key}, {"event-identifier": world.identifier}
    reply = world.api.client.post(
        "/event/send", data=body, headers=headers, query_string=query, content_type=content_type
    )
    if read is None:
        assert (reply.status_code, reply.json["code"], world.log()) == (400, 500000, [])
    else:
        assert reply.status_code == 200
        assert world.request(world.log()[0]["id"])["body"] == read


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_events_are_sent_with_post(world, method):
    query = {"access-key": world.key, "event-identifier": world.identifier}
    world.api.refused(method, "/event/send", status=405, code=500000, headers={}, **query)
    assert world.log() == []


def test_a_body_that_the_server_refuses_is_answered_alike(make_api, profile):
    world = World(make_api(EXTENSION_EVENTHOS_PROFILE=profile, EXTENSION_MAX_BODY_BYTES="1000"))
    answer = world.send("x" * 1000, status=413)
    assert (answer["code"], answer["message"]) == (500000, "request entity too large")
    assert world.log() == []


def test_without_its_tables_nothing_is_accepted_and_the_database_is_not_told(world):
    world.add_contract("http://localhost/")
    rename = "ALTER TABLE {} RENAME TO {}"
    names = "eventhos_received", "eventhos_away"
    with world.api.database.transaction() as connection:
        connection.exec_driver_sql(rename.format(*names))
    try:
        answer = world.send({}, status=503)
    finally:
        with world.api.database.transaction() as connection:
            connection.exec_driver_sql(rename.format(*reversed(names)))
    assert answer["code"] == 500204
    assert answer["message"] == "The database cannot be used; nothing was changed"
    assert answer.keys() == {"message", "code", "errorUUID"}
    assert world.log() == []
    assert world.send({})["message"] == "success"
