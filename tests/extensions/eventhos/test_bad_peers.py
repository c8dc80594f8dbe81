"""Systems and token endpoints that hang, drip and answer nonsense: an error of their contract, and of no other."""

import json
import threading

import pytest

from extensions.eventhos.calls import MOST_ANSWER_BYTES
from tests.extensions.eventhos.making import World, ended
from tests.extensions.eventhos.managing import new_action, new_contract, new_system
from tests.support.receivers import drip, reply, silence
from tests.support.waiting import wait_until

WITH_TOKEN = {"headers": {"Authorization": "Bearer ${.oauthResponse.body.access_token}"}}
SECONDS = "0.5"

START = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BAD = {
    "silence": (silence, "timed out"),
    "a head that drips": (drip(START), "timed out"),
    "a body that drips": (drip(START + b"Content-Length: 1000000\r\n\r\n", b" "), "timed out"),
    "a body that drips without a length": (drip(START + b"\r\n", b" "), "timed out"),
    "a body that breaks off": (
        lambda connection: connection.sendall(START + b"Content-Length: 20\r\n\r\n{}"),
        "the answer broke off",
    ),
}


def token(body, status=200):
    return reply(status, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.fixture
def impatient(make_api):
    """A producer of a server that waits half a second for an answer."""
    return World(make_api(EXTENSION_EVENTHOS_TIMEOUT=SECONDS))


@pytest.fixture
def outcome(working):
    """Send one event, and return its execution when it has ended."""

    def send(world):
        with working(world.api):
            world.send({"n": 1})
            row = ended(world, len(world.log()))[-1]
        (execution,) = world.executions(row["id"])
        return world.execution(execution["detailId"])

    return send


class TestSystems:
    @pytest.mark.parametrize(("answer", "why"), BAD.values(), ids=BAD)
    def test_no_whole_answer_is_an_error(self, impatient, receiver, outcome, answer, why):
        there = receiver(answer=lambda request: answer)
        impatient.add_contract(there.url("/", "127.0.0.1"))
        detail = outcome(impatient)
        assert (detail["state"], detail["response"]["status"]) == ("error", "ERROR")
        assert detail["response"]["statusText"] == f"127.0.0.1: {why}"
        assert detail["response"]["body"] == {}

    def test_it_makes_no_reply(self, impatient, receiver, outcome):
        answer = drip(START + b"\r\n", b" ")
        there = receiver(answer=lambda request: answer)
        impatient.add_event("answered")
        impatient.add_contract(there.url("/", "127.0.0.1"), reply_to="answered")
        assert outcome(impatient)["state"] == "error"
        assert len(impatient.log()) == 1

    def test_the_beginning_of_a_large_answer_makes_no_reply(self, impatient, receiver, outcome, caplog):
        there = receiver(answer=lambda request: reply(200, b'"' + b"x" * MOST_ANSWER_BYTES + b'"'))
        impatient.add_event("answered")
        impatient.add_contract(there.url("/", "127.0.0.1"), reply_to="answered")
        detail = outcome(impatient)
        assert (detail["state"], len(detail["response"]["body"])) == ("processed", MOST_ANSWER_BYTES)
        assert len(impatient.log()) == 1
        assert f"is left out: the answer has more than {MOST_ANSWER_BYTES} bytes" in caplog.text

    def test_new_contracts_of_a_system_that_hangs_do_not_hold_up_those_of_another(self, make_api, receiver, working):
        there = receiver(answer=lambda request: silence if request.path == "/hangs" else reply())
        world = World(make_api(EXTENSION_WORKER_THREADS="4", EXTENSION_EVENTHOS_TIMEOUT="15"))
        consumer = new_system(world.api, "consumer")
        for _ in range(6):
            action = new_action(world.api, consumer, url=there.url("/hangs", "127.0.0.1"))
            new_contract(world.api, world.event, action)
        action = new_action(world.api, url=there.url("/quick", "127.0.0.1"))
        new_contract(world.api, world.add_event("quick"), action)
        with working(world.api):
            world.send({})
            wait_until(lambda: there.requests)
            world.send({}, identifier="quick")
            wait_until(lambda: any(request.path == "/quick" for request in there.requests))
            assert there.server.ended.empty()  # all that hang still do
            there.server.close()


NESTED = b'{"access_token": ' + b"[" * 900 + b"]" * 900 + b"}"


class TestTokenEndpoints:
    @pytest.fixture
    def add(self, receiver):
        """Add a contract with a token endpoint that answers so, and return its system and the endpoint."""

        def add(world, answer):
            there, tokens = receiver(), receiver(answer=lambda request: answer)
            security = {"url": tokens.url("/token", "127.0.0.1"), "clientId": "me", "clientSecret": "s3cret-word"}
            world.add_contract(there.url("/", "127.0.0.1"), security=security, template=WITH_TOKEN)
            return there, tokens

        return add

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            *((answer, f"127.0.0.1: {why}") for answer, why in BAD.values()),
            (token(b"<html>Welcome</html>"), "the token endpoint answered no JSON"),
            (token(b""), "the token endpoint answered no JSON"),
            (token(b'{"access_token": "a'), "the token endpoint answered no JSON"),
            (token(b'"' + b"x" * 100_000 + b'"'), "the token endpoint answered more than 65536 bytes"),
            (token(NESTED), "the answer of the token endpoint is nested too deep"),
            (token({"error": "s3cret-word"}, 400), "the token endpoint answered 400"),
            (
                token({"access_token": "a\r\nX-Evil: 1"}),
                "headers.Authorization: the value of the event has a line break",
            ),
            (token({"access_token": "\u20ac"}), "the value of the header Authorization has to be one line of Latin-1"),
        ],
        ids=[*BAD, "HTML", "nothing", "half", "much", "nested", "error", "line break", "not Latin-1"],
    )
    def test_what_is_no_token_is_the_contracts_error(self, impatient, outcome, add, answer, why):
        there, _ = add(impatient, answer)
        detail = outcome(impatient)
        assert (detail["state"], detail["response"]["statusText"]) == ("error", why)
        assert "s3cret-word" not in json.dumps(detail)
        assert there.requests == []

    def test_its_time_is_part_of_the_actions(self, impatient, outcome, add):
        def late(connection):
            threading.Event().wait(float(SECONDS) * 0.9)
            connection.sendall(token({"access_token": "t1"}))

        there, _ = add(impatient, late)
        there.answer = lambda request: late
        detail = outcome(impatient)
        assert (detail["state"], detail["response"]["statusText"]) == ("error", "127.0.0.1: timed out")

    @pytest.mark.parametrize(
        "lifetime", [-1, 0, 9, "abc", "-5", "\u0663\u0663\u0663\u0663", "1e30", None, True, [], {}], ids=repr
    )
    def test_a_token_without_a_usable_lifetime_is_for_one_call(self, world, working, add, lifetime):
        there, tokens = add(world, token({"access_token": "t1", "expires_in": lifetime}))
        with working(world.api):
            for number in (1, 2):
                world.send({})
                ended(world, number)
        assert (len(there.requests), len(tokens.requests)) == (2, 2)

    @pytest.mark.parametrize("lifetime", [3600, 60.5, "3600", 1e30, 10**18], ids=repr)
    def test_a_token_is_kept_for_its_lifetime(self, world, working, add, lifetime):
        there, tokens = add(world, token({"access_token": "t1", "expires_in": lifetime}))
        with working(world.api):
            for number in (1, 2):
                world.send({})
                ended(world, number)
        assert [request.headers["authorization"] for request in there.requests] == ["Bearer t1"] * 2
        assert len(tokens.requests) == 1
