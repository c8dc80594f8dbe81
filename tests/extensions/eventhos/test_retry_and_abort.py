"""Failed contracts of an event: they are retried or aborted by hand, once, with the checks of /event/send."""

import json
from typing import NamedTuple

import pytest
from sqlalchemy import update

from extensions.eventhos.tables import clients, contracts, systems
from tests.extensions.eventhos.applying import url_of
from tests.extensions.eventhos.making import World, ended
from tests.support.commands import extension_kit
from tests.support.receivers import Receiver, reply
from tests.support.waiting import wait_until

PROSECUTED = "Contract Detail was prosecuted."
RETRY, ABORT = "/event/send/contract", "/event/retry/aborted"
TEMPLATE = {"body": {"n": "${.body.n}", "trace": "${.headers.x-trace}", "extra": "${.query.extra}"}}
WRONG_KEY = {"documented": 401202, "upstream": 401201}
UNKNOWN_EVENT = {"documented": 400024, "upstream": 400202}


class Failed(NamedTuple):
    """An event with a contract that failed and one that did not, and the system that succeeds from now on."""

    received: int
    bad: int
    good: int
    there: Receiver


@pytest.fixture
def api(database, shared_apis, profile):
    return shared_apis(EXTENSION_EVENTHOS_PROFILE=profile)


@pytest.fixture
def failed(world, receiver, working):
    statuses = [500]
    there = receiver(answer=lambda request: reply(statuses.pop() if request.path == "/bad" and statuses else 200))
    for path in ("/bad", "/good"):
        world.add_contract(there.url(path, "127.0.0.1"), template=TEMPLATE)
    with working(world.api):
        world.send({"n": 1}, headers={"X-Trace": "T1"}, extra="e")
        (row,) = ended(world, 1)
    bad, good = world.executions(row["id"])
    assert (bad["state"], good["state"]) == ("error", "processed")
    return Failed(row["id"], bad["detailId"], good["detailId"], there)


def ask(world, path, detail, status=200, headers=None, body=None, **query):
    sent = {"access-key": world.key, "event-identifier": world.identifier, **query}
    body = {"contractDetailId": detail, "receivedEventId": 1} if body is None else body
    return world.api.ask("POST", path, body, status=status, headers=headers, **sent)


def marks(world, received):
    """Return which executions of an event were retried, and which were aborted."""
    executions = world.executions(received)
    details = [world.execution(each["detailId"]) for each in executions]
    found = [(each["attempts"], each["isAborted"]) for each in executions]
    assert found == [(each["attempts"], each["is_aborted"]) for each in details]
    return found


class TestRetry:
    def test_it_is_an_event_of_its_own_with_the_request_of_the_first(self, world, failed, working, profile):
        with working(world.api):
            contract = world.executions(failed.received)[0]["contractId"]
            answer = ask(world, RETRY, failed.bad, headers={}, **{"contract-id": contract})  # as the web page does
            old, new = ended(world, 2)
        assert answer == {"code": 20000 if profile == "upstream" else 200000, "message": "success"}
        assert (old["state"], new["state"]) == (["retried", "processed"], ["processed"])
        assert (marks(world, old["id"]), marks(world, new["id"])) == ([(1, 0), (0, 0)], [(0, 0)])
        first, second = (
            world.api.ask("GET", f"/event/received/{row['id']}")["content"]["receivedEvent"] for row in (old, new)
        )
        assert (second["retryOfId"], second["retryOfDetailId"]) == (old["id"], failed.bad)
        assert (first["retryOfId"], first["retryOfDetailId"]) == (None, None)
        assert (old["retryOfId"], new["retryOfId"]) == (None, old["id"])
        own = ("id", "received_at", "retryOfId", "retryOfDetailId")
        assert [value for key, value in second.items() if key not in own] == [
            value for key, value in first.items() if key not in own
        ]
        own = ("id", "receivedAt", "retryOfId", "state")
        assert [value for key, value in new.items() if key not in own] == [
            value for key, value in old.items() if key not in own
        ]
        calls = [each for each in failed.there.requests if each.path == "/bad"]
        assert [json.loads(each.body) for each in calls] == [{"n": 1, "trace": "T1", "extra": "e"}] * 2
        assert len(failed.there.requests) == 3  # the other contract was called once

    def test_it_is_made_once(self, world, failed):
        ask(world, RETRY, failed.bad)
        again = ask(world, RETRY, failed.bad, 400)
        assert (again["code"], again["message"]) == (
            400206,
            f"{PROSECUTED} It was retried before, as an entry of its own in the log.",
        )
        assert ask(world, ABORT, failed.bad, 400)["code"] == 400203
        assert len(world.log()) == 2

    @pytest.mark.parametrize("change", [{"deleted": True}, {"active": False}], ids=str)
    def test_a_contract_that_is_gone(self, world, failed, change):
        with world.api.database.transaction() as connection:
            connection.execute(update(contracts).values(change))
        assert ask(world, RETRY, failed.bad, 400)["code"] == 400204
        assert marks(world, failed.received) == [(0, 0), (0, 0)]


class TestDeadLetters:
    def test_the_log_line_names_the_execution_and_the_contract(self, world, failed, caplog):
        contract = world.executions(failed.received)[0]["contractIdentifier"]
        (line,) = (record.getMessage() for record in caplog.get_records("setup") if "is dead" in record.getMessage())
        assert f"is dead after attempt 1: execution {failed.bad} of contract {contract}: " in line

    def test_a_replay_says_that_the_log_has_a_retry_and_calls_nothing(self, world, failed, working, caplog):
        done = extension_kit("deliveries", "replay", "--all", EXTENSION_DATABASE_URL=url_of(world.api.database))
        assert done.returncode == 0, done.stderr
        assert done.stdout == (
            "Replayed 1 dead letter.\n"
            "Of these, 1 is attempted by eventhos itself, which may refuse what it has ended: repeat that by the retry "
            "of eventhos, as the README of the extension says.\n"
        )
        with working(world.api):
            wait_until(lambda: "has failed before: POST /event/send/contract sends it again" in caplog.text)
        assert len(failed.there.requests) == 2
        assert marks(world, failed.received) == [(0, 0), (0, 0)]


class TestAbort:
    def test_it_is_final(self, world, failed):
        assert ask(world, ABORT, failed.bad) == {"code": 200000, "message": "success"}
        assert [row["state"] for row in world.log()] == [["aborted", "processed"]]
        assert marks(world, failed.received) == [(0, 1), (0, 0)]
        assert ask(world, ABORT, failed.bad, 400)["code"] == 400203
        retry = ask(world, RETRY, failed.bad, 400)
        assert (retry["code"], retry["message"]) == (400206, f"{PROSECUTED} It was aborted.")
        assert len(failed.there.requests) == 2

    def test_it_needs_a_token_beside_the_key(self, world, failed):
        assert ask(world, ABORT, failed.bad, 403, headers={})["code"] == 403002
        assert marks(world, failed.received) == [(0, 0), (0, 0)]


class TestRefused:
    @pytest.mark.parametrize(("path", "code"), [(RETRY, 400206), (ABORT, 400203)])
    def test_what_has_not_failed(self, world, failed, path, code):
        world.send({})
        waiting = world.executions(world.log()[0]["id"])[0]["detailId"]
        for detail, reason in ((failed.good, "It has not failed."), (waiting, "It has not ended yet.")):
            answer = ask(world, path, detail, 400)
            said = PROSECUTED if path == ABORT else f"{PROSECUTED} {reason}"
            assert (answer["code"], answer["message"]) == (code, said)

    @pytest.mark.parametrize("path", [RETRY, ABORT])
    @pytest.mark.parametrize("id", [0, 999_999, 2**63, "x", None], ids=repr)
    def test_unknown_details(self, world, path, id):
        assert ask(world, path, id, 400)["code"] == 400203

    @pytest.mark.parametrize("path", [RETRY, ABORT])
    def test_a_body_without_a_detail(self, world, path):
        assert ask(world, path, None, 400, body={"receivedEventId": 1})["code"] == 400203

    @pytest.mark.parametrize("path", [RETRY, ABORT])
    def test_a_detail_that_is_no_whole_number_of_ascii_digits(self, world, failed, path):
        arabic = str(failed.bad).translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))
        for detail in (arabic, failed.bad + 0.7, f"0_{failed.bad}", f" {failed.bad}", True):
            assert ask(world, path, detail, 400)["message"] == "contractDetailId: Not a valid integer."
        assert marks(world, failed.received) == [(0, 0), (0, 0)]

    @pytest.mark.parametrize("path", [RETRY, ABORT])
    def test_a_detail_of_another_producer(self, world, failed, path):
        other = World(world.api, key="another-key")
        query = {"access-key": other.key, "event-identifier": other.identifier}
        assert ask(world, path, failed.bad, 400, **query)["code"] == 400203

    @pytest.mark.parametrize("path", [RETRY, ABORT])
    def test_keys_and_events_are_checked_as_those_of_events_that_are_sent(self, world, failed, profile, path):
        other = World(world.api, key="another-key")
        for query, status, code in (
            ({"access-key": ""}, 400, 400201),
            ({"event-identifier": ""}, 400, 400201),
            ({"event-identifier": "nothing-here"}, 400, UNKNOWN_EVENT[profile]),
            ({"access-key": "wrong"}, 401, WRONG_KEY[profile]),
            ({"access-key": other.key}, 401, WRONG_KEY[profile]),
            ({"access-key": "a.b.c"}, 401, 401202),
        ):
            assert ask(world, path, failed.bad, status, **query)["code"] == code
        for table, change, status, code in (
            (clients, {"revoked": True}, 403, 403201),
            (clients, {"deleted": True}, 404, 404201),
            (systems, {"client": None}, 404, 404201),
        ):
            with world.api.database.transaction() as connection:
                connection.execute(update(table).values(change))
            assert ask(world, path, failed.bad, status)["code"] == code
        assert marks(world, failed.received) == [(0, 0), (0, 0)]
        assert len(world.log()) == 1
