"""All routes: the form of their answers, the permissions they need, numbers in their paths, and unknown paths."""

import re

import pytest
from sqlalchemy import update

from extensions.eventhos.operations import OPERATIONS
from extensions.eventhos.tables import clients
from tests.extensions.eventhos.managing import new_action, new_contract, new_event, new_system

ALL = [operation for group in OPERATIONS.values() for operation in group]
MANAGING = [each for each in ALL if each.permission and not each.has_key]
WITH_NUMBER = [each for each in ALL if "{" in each.path]
REQUEST = {"url": "http://erp.test/", "method": "post"}
BODIES = {
    "POST /event": {"identifier": "e", "name": "E"},
    "PUT /event/{id}": {"name": "new"},
    "POST /system": {"systemClass": "hybrid", "identifier": "s", "name": "S"},
    "PUT /system/{id}": {"name": "new"},
    "POST /action": {"identifier": "a", "name": "A", **REQUEST},
    "PUT /action/{id}": REQUEST,
    "POST /contract": {"identifier": "c", "name": "C"},
    "PUT /contract/order": {"orders": []},
    "PUT /contract/{id}": {"name": "new"},
    "POST /auth/client": {"identifier": "c", "name": "C"},
    "PUT /auth/client/{id}": {"name": "new"},
    "PUT /auth/client/{id}/long-live": {"longLive": True},
    "PUT /auth/client/{id}/revoke": {},
}
WITHOUT_CONTENT = {
    "PUT /contract/order",
    "PUT /auth/client/{id}/revoke",
    "DELETE /auth/client/{id}/keys/{key_id}",
    *(f"{method} {path}/{{id}}" for method in ("PUT", "DELETE") for path in ("/event", "/system", "/action")),
    *(f"{method} {path}/{{id}}" for method in ("PUT", "DELETE") for path in ("/contract", "/auth/client")),
}
RESOURCES = ("event", "system", "action", "contract")
VERBS = {"POST": "create", "GET": "select", "PUT": "update", "DELETE": "delete"}
ROLES = {
    "nobody": ([], lambda resource, verb: False),
    "viewer": ([3], lambda resource, verb: resource in RESOURCES and verb == "select"),
    "operator": ([2], lambda resource, verb: resource in RESOURCES),
    "admin": ([1], lambda resource, verb: True),
}


def named(operation):
    return f"{operation.method.upper()} {operation.path}"


def needed(operation):
    """Return the resource and the verb of the permission that the documentation of eventhos has for an operation."""
    method, path = named(operation).split()
    if path == "/event/retry/aborted":
        return "event", "retry-aborted"
    first, second = path.split("/")[1:3] if path.startswith("/auth/") else (path.split("/")[1], "")
    resource = f"OAUTH2_{second}" if first == "auth" else "event" if first == "received" else first
    return resource, "update" if "/keys/" in path else VERBS[method]


@pytest.fixture
def ids(world):
    """Numbers of rows that may be changed and deleted, by what is before them in paths; and of those to refer to."""
    api = world.api
    world.add_contract("http://127.0.0.1:1/")
    world.send({})
    received = world.log()[0]["id"]
    made = api.ask("POST", "/auth/client", BODIES["POST /auth/client"], status=201, longLive="true")
    client = made["content"]["id"]
    (key,) = api.ask("GET", f"/auth/client/{client}/keys")["content"]["items"]
    return {
        "event": new_event(api),
        "system": new_system(api),
        "action": new_action(api),
        "contract": new_contract(api),
        "client": client,
        "keys": key["id"],
        "received": received,
        "execution-detail": world.executions(received)[0]["detailId"],
        "of": {"system_id": world.system, "eventId": world.event, "actionId": new_action(api)},
    }


@pytest.mark.parametrize("operation", MANAGING, ids=named)
def test_answers_have_a_code_a_message_and_content(api, ids, operation):
    name, is_read = named(operation), operation.method == "get"
    path = re.sub(r"([\w-]+)/{\w+}", lambda found: f"{found[1]}/{ids[found[1]]}", operation.path)
    body = None if name not in BODIES else {**ids["of"], **BODIES[name]}
    answer = api.ask(operation.method, path, body, status=200 if is_read else 201)
    content = answer.pop("content", None)
    is_system = name == "POST /system"
    code = 200000 if is_read else 20001 if is_system else 200001
    assert answer == {"code": code, "message": "New system created" if is_system else "success"}
    assert (content is None) == (name in WITHOUT_CONTENT)
    if "itemsPerPage" in operation.query:
        assert content.keys() == {"items", "pageIndex", "itemsPerPage", "totalItems", "totalPages"}
        assert (content["pageIndex"], content["itemsPerPage"]) == (0, 5)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_permits_what_its_permissions_say(api, role):
    roles, permits = ROLES[role]
    body = {"identifier": role, "name": role, "roles": [{"id": id} for id in roles]}
    made = api.ask("POST", "/auth/client", body, status=201)["content"]
    grant = {"grant_type": "client_credentials", "client_id": made["clientId"], "client_secret": made["clientSecret"]}
    token = api.ask("POST", "/auth/token", grant, status=201, headers={})["content"]["jwt_token"]
    permitted = set()
    for operation in ALL:
        if operation.permission:
            path = re.sub(r"{\w+}", "999999", operation.path)
            reply = api.client.open(
                path, method=operation.method, json={}, headers={"Authorization": f"BEARER {token}"}
            )
            refusal = f"Subject not authorized; the permission {':'.join(needed(operation))} is needed"
            is_refused = (reply.status_code, reply.json["code"]) == (401, 401002)
            assert is_refused == (reply.json["message"] == refusal), named(operation)
            permitted |= set() if is_refused else {named(operation)}
    assert permitted == {named(each) for each in ALL if each.permission and permits(*needed(each))}


@pytest.mark.parametrize("word", ["x", "-1", "1.5", "٣", "9" * 19, "9" * 5000, "a%00"], ids=lambda word: word[:5])
@pytest.mark.parametrize("operation", WITH_NUMBER, ids=named)
def test_a_word_where_a_number_belongs_is_not_found_and_named(api, operation, word):
    path = re.sub(r"{\w+}", word, operation.path)
    message = api.refused(operation.method, path, BODIES.get(named(operation)), status=404, code=500000)
    shown = path.replace("%00", "\0")
    assert message == f"There is no path {shown:.200}"


@pytest.mark.parametrize(
    "path",
    ["/event/1/2", "/received", "/system/1/x", "/action/1/2", "/contract/event", "/auth"]
    + [f"/auth/{each}" for each in ("user", "resource", "application", "role/1")],
)
def test_unknown_paths_are_answered_in_the_form_of_errors(api, path):
    assert api.refused("GET", path, status=404, code=500000, headers={}) == f"There is no path {path}"


@pytest.mark.parametrize("path", sorted({operation.path for operation in ALL}))
def test_other_methods_are_answered_with_those_of_the_path(api, path):
    reply = api.client.patch(re.sub(r"{\w+}", "1", path))
    assert (reply.status_code, reply.json["code"]) == (405, 500000)
    allowed = {operation.method.upper() for operation in ALL if operation.path == path}
    assert {*reply.headers["Allow"].split(", ")} - {"HEAD"} == allowed


@pytest.mark.parametrize("operation", [each for each in MANAGING if each.path != "/auth/role"], ids=named)
def test_a_table_that_cannot_be_used_is_not_told(api, operation):
    names, token = [f"eventhos_{table_of(operation)}", "eventhos_away"], api.token

    def rename(old, new):
        with api.database.transaction() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    path = re.sub(r"{\w+}", "1", operation.path)
    body = {"system_id": 1, "eventId": 1, "actionId": 1, **BODIES.get(named(operation), {})}
    if "orders" in body:
        body["orders"] = [{"contractId": 1, "order": 1}]
    headers = {"Authorization": f"BEARER {token}"}
    rename(*names)
    try:
        message = api.refused(operation.method, path, body, status=503, code=500204, headers=headers)
    finally:
        rename(*reversed(names))
    assert message == "The database cannot be used; nothing was changed"


def table_of(operation):
    """Return the name of the table that an operation reads first."""
    name = named(operation)
    if "received" in name:
        return "executions" if "execution-detail" in name else "received"
    if name in ("POST /event", "POST /action"):
        return "systems"
    if name == "POST /contract" or operation.path.startswith("/contract/event"):
        return "events"
    return "clients" if operation.path.startswith("/auth") else f"{operation.path.split('/')[1]}s"


def test_an_error_that_nobody_expects_is_not_told(api, caplog):
    body = {"identifier": "c", "name": "C", "roles": [{"id": 1}]}
    made = api.ask("POST", "/auth/client", body, status=201)["content"]
    grant = {"grant_type": "client_credentials", "client_id": made["clientId"], "client_secret": made["clientSecret"]}
    token = api.ask("POST", "/auth/token", grant, status=201, headers={})["content"]["jwt_token"]
    with api.database.transaction() as connection:
        connection.execute(update(clients).values(permissions=7))
    message = api.refused("GET", "/event", status=500, code=500000, headers={"Authorization": f"BEARER {token}"})
    assert message == "Internal server error; the log of the server has the reason"
    assert "'int' object is not iterable" in caplog.text


def test_the_root_is_for_agents(api):
    assert api.client.get("/").json.keys() >= {"eventListeners"}
