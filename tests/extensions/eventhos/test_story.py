"""One whole story over HTTP: from the first login to a retry and an abort, with a real server and receivers."""

import json

import pytest

from tests.extensions.eventhos.api import ADMIN
from tests.extensions.eventhos.served import Client, serving
from tests.support.receivers import reply
from tests.support.waiting import wait_until


@pytest.fixture
def there(receiver):
    """The two systems that are called: /crm fails until it is repaired."""
    there = receiver(answer=lambda request: reply(503 if request.path == "/crm" and there.is_broken else 200, b"{}"))
    there.is_broken = True
    return there


def test_the_whole_story(database, there, tmp_path):
    url = database.url.render_as_string(hide_password=False).replace("+psycopg", "")
    with serving(url, tmp_path / "log") as server:
        client = Client(server)
        client.token = client.make("/auth/login", ADMIN, "jwt_token")
        body = {"identifier": "hr", "name": "HR", "description": "", "roles": []}
        made = client.ask("POST", "/auth/client?longLive=true", body, 201)["content"]
        number = made["id"]
        producer = client.make(
            "/system",
            {"systemClass": "producer", "identifier": "hr", "name": "HR", "type": "ERP", "clientId": number},
            "systemId",
        )
        body = {"systemClass": "consumer", "identifier": "crm", "name": "CRM", "type": "CRM"}
        consumer = client.make("/system", body, "systemId")
        event = client.make(
            "/event",
            {"system_id": producer, "identifier": "new-employee", "name": "New employee", "operation": "new"},
            "eventId",
        )
        actions = [
            client.make(
                "/action",
                {
                    "system_id": consumer,
                    "identifier": f"tell-{name}",
                    "name": name,
                    "operation": "new",
                    "description": "",
                    "method": "post",
                    "url": there.url(f"/{name}", "127.0.0.1"),
                    "headers": [{"key": "X-Employee", "value": "${.body.name}"}],
                    "queryUrlParams": [],
                    "body": [{"key": "id", "value": "${.body.id}"}],
                    "securityType": 0,
                },
                "actionId",
            )
            for name in ("erp", "crm")
        ]
        for order, action in enumerate(actions, 1):
            body = {
                "eventId": event,
                "actionId": action,
                "name": f"c{order}",
                "identifier": f"c{order}",
                "order": order,
            }
            client.make("/contract", body, "actionId")
        (found,) = client.ask("GET", f"/event?systemId={producer}")["content"]["items"]
        identifier, key = found["identifier"], made["access_token"]

        def log():
            return client.ask("GET", "/event/received?order=desc")["content"]["items"]

        def send(path, body):
            headers = {"access-key": key, "Authorization": f"BEARER {client.token}"}
            return server.post(f"{path}?event-identifier={identifier}", body, headers).json

        assert send("/event/send", {"id": 7, "name": "Ada"}) == {"code": 200000, "message": "success"}
        wait_until(lambda: log()[0]["state"] == ["processed", "error"])
        assert [(each.path, each.body, each.headers["x-employee"]) for each in there.requests] == [
            ("/erp", b'{"id":7}', "Ada"),
            ("/crm", b'{"id":7}', "Ada"),
        ]
        detail = client.ask("GET", f"/event/received/{log()[0]['id']}")["content"]
        failed = detail["executedEventContracts"][1]
        execution = client.ask("GET", f"/received/execution-detail/{failed['detailId']}")["content"]
        assert (execution["state"], execution["response"]["status"]) == ("error", 503)
        assert key not in json.dumps([detail, execution])

        again = {"contractDetailId": failed["detailId"], "receivedEventId": log()[0]["id"]}
        assert send("/event/send/contract", again)["code"] == 200000
        wait_until(lambda: log()[0]["state"] == ["error"])
        assert log()[1]["state"] == ["processed", "retried"]
        second = client.ask("GET", f"/event/received/{log()[0]['id']}")["content"]["executedEventContracts"][0]
        assert send("/event/retry/aborted", {"contractDetailId": second["detailId"]})["code"] == 200000
        assert log()[0]["state"] == ["aborted"]

        there.is_broken = False
        send("/event/send", {"id": 8, "name": "Grace"})
        wait_until(lambda: log()[0]["state"] == ["processed", "processed"])
        assert key not in server.log
        assert ADMIN["password"] not in server.log
