"""Contracts run: the order of their calls, and requests, answers, failures and retries of a call."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.extensions.eventhos.making import World, ended
from tests.support.receivers import reply
from tests.support.waiting import wait_until

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


class TestOrder:
    def test_a_group_begins_when_all_before_have_ended(self, world, receiver, working):
        both, first_ended = threading.Barrier(2), []

        def answer(request):
            if request.path != "/last":
                both.wait(20)  # they run at the same time
                first_ended.append(request.path)
            else:
                assert len(first_ended) == 2
            return reply(500 if request.path == "/b" else 200)

        there = receiver(answer=answer)
        world.add_contract(there.url("/last", "127.0.0.1"), order=7)
        for path in ("/a", "/b"):
            world.add_contract(there.url(path, "127.0.0.1"), order=1)
        with working(world.api):
            world.send({"n": 1})
            (row,) = ended(world, 1)
        assert sorted(row["state"]) == ["error", "processed", "processed"]
        assert [request.path for request in there.requests][2:] == ["/last"]

    def test_an_error_stops_those_behind_a_contract_that_says_so(self, world, receiver, working):
        there = receiver(answer=lambda request: reply(500 if request.path == "/a" else 200))
        world.add_contract(there.url("/a", "127.0.0.1"), order=0, stop_on_error=True)
        world.add_contract(there.url("/b", "127.0.0.1"), order=1)
        world.add_contract(there.url("/c", "127.0.0.1"), order=2)
        with working(world.api):
            world.send({})
            (row,) = ended(world, 1)
        assert row["state"] == ["error"] * 3
        assert [request.path for request in there.requests] == ["/a"]
        _, *stopped = world.executions(row["id"])
        responses = [world.execution(each["detailId"])["response"] for each in stopped]
        assert [response["status"] for response in responses] == ["STOPPED"] * 2

    def test_a_contract_in_order_handles_one_event_after_the_other(self, world, receiver, working):
        """Although an earlier contract of the first event takes longer than that of the second."""
        go, second = threading.Event(), threading.Event()

        def answer(request):
            number = json.loads(request.body)["n"]
            if request.path == "/slow" and number == 1:
                assert go.wait(20)
            elif request.path == "/slow":
                second.set()
            return reply()

        there = receiver(answer=answer)
        world.add_contract(there.url("/slow", "127.0.0.1"), order=0)
        world.add_contract(there.url("/in-order", "127.0.0.1"), order=1, in_order=True)
        with working(world.api):
            for number in (1, 2, 3):
                world.send({"n": number})
            assert second.wait(20)
            go.set()
            ended(world, 3)
        assert [json.loads(each.body)["n"] for each in there.requests if each.path == "/in-order"] == [1, 2, 3]

    def test_events_of_a_contract_in_order_are_sent_in_parallel(self, world, receiver, working):
        there = receiver()
        world.add_contract(there.url("/", "127.0.0.1"), in_order=True)
        with working(world.api), ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda number: world.send({"n": number}), range(40)))
            rows = ended(world, 40)
        assert all(row["state"] == ["processed"] for row in rows)
        accepted = [world.request(row["id"])["body"]["n"] for row in rows]
        assert [json.loads(each.body)["n"] for each in there.requests] == accepted


class TestCalls:
    def test_request_and_response_are_in_the_log(self, world, receiver, working):
        there = receiver(answer=lambda request: reply(201, b'{"made": 7}', X_Made="yes"))
        template = {
            "headers": {"X-Name": "${.body.name}", "Authorization": "Bearer hidden-word"},
            "params": {"n": "${.body.n}"},
            "body": {"who": "${.body.name}", "n": "${.body.n}", "all": ["${.body}"]},
        }
        world.add_contract(there.url("/${.body.name}", "127.0.0.1"), template=template)
        with working(world.api):
            world.send({"name": "Mo rph", "n": 7})
            (row,) = ended(world, 1)
        (request,) = there.requests
        assert request.path == "/Mo%20rph?n=7"
        assert request.headers["x-name"] == "Mo rph"
        assert request.headers["authorization"] == "Bearer hidden-word"
        assert re.fullmatch(TIME, request.headers["eventhosstartdate"])
        assert json.loads(request.body) == {"who": "Mo rph", "n": 7, "all": [{"name": "Mo rph", "n": 7}]}
        (execution,) = world.executions(row["id"])
        detail = world.execution(execution["detailId"])
        assert "hidden-word" not in json.dumps(detail)
        assert detail["request"]["body"]["who"] == "Mo rph"
        assert detail["response"]["status"] == 201
        assert detail["response"]["statusText"] == "Created"
        assert detail["response"]["body"] == {"made": 7}
        assert detail["state"] == "processed"

    @pytest.mark.parametrize(
        ("method", "body"),
        [("GET", {"a": 1}), ("POST", [1, {"b": 2}]), ("PUT", "text"), ("PATCH", 7), ("DELETE", None)],
    )
    def test_every_method_has_a_body(self, world, receiver, working, method, body):
        there = receiver()
        world.add_contract(there.url("/", "127.0.0.1"), template={"method": method})
        with working(world.api):
            world.send(json.dumps(body).encode())
            (row,) = ended(world, 1)
        (request,) = there.requests
        assert (request.method, request.headers["content-type"]) == (method, "application/json")
        assert json.loads(request.body) == body
        assert row["state"] == ["processed"]

    def test_actions_get_all_of_an_event_but_its_credentials(self, world, receiver, working):
        there = receiver()
        world.add_contract(there.url("/", "127.0.0.1"), template={"body": "${}"})
        with working(world.api):
            headers = {"Authorization": "Bearer hidden-1", "Cookie": "session=hidden-2", "X-Trace": "T1"}
            world.send({"n": 1}, headers=headers, extra="e", **{"access-key": world.key, "access_token": "hidden-3"})
            ended(world, 1)
        sent = json.loads(there.requests[0].body)
        assert sent.keys() == {"headers", "query", "body", "method", "url"}
        assert (sent["body"], sent["method"], sent["headers"]["x-trace"]) == ({"n": 1}, "POST", "T1")
        assert sent["query"] == {"event-identifier": world.identifier, "extra": "e"}
        assert sent["url"] == f"/event/send?event-identifier={world.identifier}&extra=e"
        assert world.key not in json.dumps(sent)
        assert "hidden" not in json.dumps(sent)

    def test_nobody_listens(self, world, working):
        world.add_contract("http://127.0.0.1:1/")
        with working(world.api):
            world.send({})
            (row,) = ended(world, 1)
        detail = world.execution(world.executions(row["id"])[0]["detailId"])
        response = detail["response"]
        assert (detail["state"], response["status"], response["body"]) == ("error", "ECONNREFUSED", {})
        assert "Connection refused" in response["statusText"]

    @pytest.mark.parametrize(
        ("status", "state"),
        [(202, "processed"), (299, "processed"), (301, "error"), (302, "error"), (307, "error"), (404, "error")],
    )
    def test_only_2xx_is_success_and_redirects_are_not_followed(self, world, receiver, working, status, state):
        there = receiver(answer=lambda request: reply(status, Location="/elsewhere"))
        world.add_contract(there.url("/", "127.0.0.1"))
        with working(world.api):
            world.send({})
            (row,) = ended(world, 1)
        detail = world.execution(world.executions(row["id"])[0]["detailId"])
        assert (detail["state"], detail["response"]["status"]) == (state, status)
        assert [request.path for request in there.requests] == ["/"]

    def test_only_a_failure_is_in_the_log_of_the_process(self, world, receiver, working, caplog):
        there = receiver(answer=lambda request: reply(500 if request.path == "/bad" else 200))
        for path in ("/good", "/bad"):
            world.add_contract(there.url(path, "127.0.0.1"))
        with working(world.api):
            world.send({})
            ended(world, 1)
        wait_until(lambda: "answered 500" in caplog.text)
        bad = world.executions(world.log()[0]["id"])[1]["contractIdentifier"]
        (record,) = (record for record in caplog.records if record.levelname in ("WARNING", "ERROR"))
        assert record.levelname == "ERROR"
        assert bad in record.getMessage()

    @pytest.mark.parametrize(
        ("template", "message"),
        [
            ({"headers": {"X-A": "${.body.text}"}}, "headers.X-A: the value of the event has a line break"),
            ({"expression": "abs(body.text)"}, "bodyExpression: abs() takes no string"),
            ({"expression": "body.text < `5`"}, "bodyExpression: TypeError"),
            ({"body": {"a": {"b": {"c": {"d": {"e": {"f": {"g": "${.body.deep}"}}}}}}}}, "nested too deep"),
        ],
    )
    def test_a_request_that_cannot_be_made_is_an_error_in_the_log(self, world, working, template, message):
        world.add_contract("http://127.0.0.1:1/", template=template)
        with working(world.api):
            world.send(b'{"text": "a\\r\\nB: c", "deep": ' + b"[" * 245 + b"]" * 245 + b"}")
            (row,) = ended(world, 1)
        detail = world.execution(world.executions(row["id"])[0]["detailId"])
        assert detail["state"] == "error"
        assert message in detail["response"]["statusText"]

    @pytest.mark.parametrize("depth", [200, 250, 254, 1000])
    def test_answers_may_be_nested(self, world, receiver, working, depth):
        content = b"[" * depth + b"]" * depth
        there = receiver(answer=lambda request: reply(200, content))
        world.add_contract(there.url("/", "127.0.0.1"))
        with working(world.api):
            world.send({})
            (row,) = ended(world, 1)
        detail = world.execution(world.executions(row["id"])[0]["detailId"])
        body = detail["response"]["body"]
        assert (body if isinstance(body, str) else json.dumps(body)) == content.decode()

    def test_private_addresses_are_refused(self, make_api, working):
        world = World(make_api(EXTENSION_DELIVERY_ALLOW_NETWORKS=""))
        world.add_contract("http://127.0.0.1:1/")
        with working(world.api):
            world.send({})
            (row,) = ended(world, 1)
        detail = world.execution(world.executions(row["id"])[0]["detailId"])
        assert "EXTENSION_DELIVERY_ALLOW_NETWORKS" in detail["response"]["statusText"]

    @pytest.mark.parametrize(
        ("expression", "body"),
        [
            ("{sexo: body.sex == 'M' && `1` || `2`, all: body.list[*].id}", {"sexo": 1, "all": [1, 2]}),
            ("length(body.list)", 2),
            ("join('-', [body.sex, headers.\"x-trace\", query.extra])", "M-T1-e"),
            ("contains(body.sex, 'F')", False),
            ("body.nothing", None),
        ],
    )
    def test_an_expression_makes_the_body(self, world, receiver, working, expression, body):
        there = receiver()
        world.add_contract(there.url("/", "127.0.0.1"), template={"expression": expression})
        with working(world.api):
            world.send({"sex": "M", "list": [{"id": 1}, {"id": 2}]}, headers={"X-Trace": "T1"}, extra="e")
            ended(world, 1)
        assert json.loads(there.requests[0].body) == body

    def test_automatic_retries(self, world, receiver, working):
        statuses = [500, 503, 200]
        there = receiver(answer=lambda request: reply(statuses.pop(0)))
        world.add_contract(there.url("/", "127.0.0.1"), retry=[0, 0])
        with working(world.api):
            world.send({})
            (row,) = ended(world, 1)
        (execution,) = world.executions(row["id"])
        assert (execution["state"], execution["calls"]) == ("processed", 3)

    def test_retries_are_used_up(self, world, receiver, working):
        there = receiver(answer=lambda request: reply(500))
        world.add_contract(there.url("/", "127.0.0.1"), retry=[0])
        with working(world.api):
            world.send({})
            (row,) = ended(world, 1)
        (execution,) = world.executions(row["id"])
        assert (execution["state"], execution["calls"], len(there.requests)) == ("error", 2, 2)
