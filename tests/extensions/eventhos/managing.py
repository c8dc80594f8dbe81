"""Systems, events, actions and contracts of tests, made through the API; and clients, made in the table."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count

from sqlalchemy import insert, select

from extensions.eventhos.tables import clients

NUL = "a\0b"
TOO_LARGE = 2**63
LARGEST_OF_PATH = 10**18 - 1
_numbers = count(1)


def new_client(api, **more) -> int:
    """Add a client and return its number."""
    now = datetime.now(UTC)
    number = next(_numbers)
    row = {"identifier": f"c{number}", "client_id": f"c{number}::usil.app", "secret": b"", "permissions": []}
    with api.database.transaction() as connection:
        added = insert(clients).values({**row, "created_at": now, "updated_at": now, **more})
        return connection.execute(added).inserted_primary_key[0]


def new_system(api, system_class="hybrid", **more) -> int:
    """Create a system and return its id."""
    body = {"systemClass": system_class, "identifier": f"system-{next(_numbers)}", "name": "ERP", "type": "ERP", **more}
    return api.ask("POST", "/system", body, status=201)["content"]["systemId"]


def new_event(api, system_id=None, **more) -> int:
    """Create an event, by default of a new producer, and return its id."""
    body = {"system_id": system_id or new_system(api, "producer"), "identifier": "new-employee", "name": "N", **more}
    return api.ask("POST", "/event", body, status=201)["content"]["eventId"]


def new_action(api, system_id=None, **more) -> int:
    """Create an action, by default of a new consumer, and return its id."""
    body = {
        "system_id": system_id or new_system(api, "consumer"),
        "identifier": "add-employee",
        "name": "A",
        "url": "http://erp.test/employees",
        "method": "post",
        "headers": [],
        "queryUrlParams": [],
        **more,
    }
    return api.ask("POST", "/action", body, status=201)["content"]["actionId"]


def new_contract(api, event_id=None, action_id=None, **more) -> int:
    """Create a contract, by default of a new event and a new action, and return its id."""
    body = {
        "eventId": event_id or new_event(api),
        "actionId": action_id or new_action(api),
        "name": "C",
        "identifier": "employee-to-erp",
        **more,
    }
    return api.ask("POST", "/contract", body, status=201)["content"]["actionId"]


def items(api, path, **query) -> list:
    """Return the items of the first page of a list."""
    return api.ask("GET", path, **query)["content"]["items"]


def row(api, table, id):
    """Return a row of a table."""
    with api.database.read() as connection:
        return connection.execute(select(table).where(table.c.id == id)).one()


def at_once(api, requests) -> list[int]:
    """Make requests (method, path, body) at the same time, and return their statuses."""
    headers = {"Authorization": f"BEARER {api.token}"}

    def ask(method, path, body):
        client = api.client.application.test_client()
        return client.open(path, method=method, data=json.dumps(body), headers=headers).status_code

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: ask(*request), requests))
