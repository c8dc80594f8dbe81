"""Replies: the answer to an action becomes an event."""

import json

import pytest
from sqlalchemy import update

from extensions.eventhos.tables import clients
from tests.extensions.eventhos.making import World, ended
from tests.support.receivers import reply
from tests.support.waiting import wait_until


class TestReplies:
    def test_the_answer_becomes_an_event(self, world, receiver, working):
        there = receiver(answer=lambda request: reply(200, b'{"answer": [1]}'))
        reply_event = world.add_event("reply-1")
        world.add_contract(there.url("/first", "127.0.0.1"), reply_to="reply-1")
        world.add_contract(there.url("/second", "127.0.0.1"), event=reply_event)
        with working(world.api):
            world.send({})
            first, second = ended(world, 2)
        assert json.loads(there.requests[1].body) == {"answer": [1]}
        assert world.api.ask("GET", f"/event/received/{second['id']}")["content"]["receivedEvent"][
            "received_request"
        ] == {
            "headers": {},
            "query": {},
            "body": {"answer": [1]},
            "method": "POST",
            "url": "/event/send?event-identifier=reply-1",
        }
        detail = world.execution(world.executions(second["id"])[0]["detailId"])
        assert (detail["reply_from"], detail["reply_from_id"]) == (world.identifier, first["id"])

    def test_an_answer_is_in_the_log_also_if_its_event_has_no_contracts(self, world, receiver, working):
        there = receiver(answer=lambda request: reply(204))
        world.add_event("reply-1")
        world.add_contract(there.url("/", "127.0.0.1"), reply_to="reply-1")
        with working(world.api):
            world.send({})
            wait_until(lambda: len(world.log()) == 2)
        assert (world.log()[0]["eventIdentifier"], world.log()[0]["state"]) == ("reply-1", [None])

    def test_a_reply_needs_no_key(self, world, receiver, working):
        there, other = receiver(answer=lambda request: reply(200, b"{}")), World(world.api, key="another-key")
        with world.api.database.transaction() as connection:
            connection.execute(update(clients).where(clients.c.id == other.client).values(revoked=True))
        world.add_contract(there.url("/first", "127.0.0.1"), reply_to=other.identifier)
        other.add_contract(there.url("/second", "127.0.0.1"))
        with working(world.api):
            world.send({})
            ended(world, 2)
        assert [request.path for request in there.requests] == ["/first", "/second"]

    def test_an_error_is_no_reply(self, world, receiver, working):
        there = receiver(answer=lambda request: reply(500, b"{}"))
        world.add_event("reply-1")
        world.add_contract(there.url("/", "127.0.0.1"), reply_to="reply-1")
        with working(world.api):
            world.send({})
            (row,) = ended(world, 1)
        assert row["state"] == ["error"]
        assert len(world.log()) == 1  # when the worker has ended, too

    def test_a_chain_of_replies_ends(self, make_api, receiver, working):
        world = World(make_api(EXTENSION_EVENTHOS_MAX_REPLIES="3"))
        there = receiver(answer=lambda request: reply(200, b"{}"))
        world.add_contract(there.url("/", "127.0.0.1"), reply_to=world.identifier)
        with working(world.api):
            world.send({})
            ended(world, 4)
        assert len(there.requests) == 4

    def test_replies_do_not_multiply(self, make_api, receiver, working, caplog):
        world = World(make_api(EXTENSION_EVENTHOS_MAX_REPLIES="100", EXTENSION_EVENTHOS_MAX_REPLIES_OF_EVENT="4"))
        there = receiver(answer=lambda request: reply(200, b"{}"))
        for path in ("/a", "/b", "/c"):
            world.add_contract(there.url(path, "127.0.0.1"), reply_to=world.identifier)
        with working(world.api):
            world.send({})
            # At most as many come together as a worker has threads.
            wait_until(lambda: "is left out: event" in caplog.text)
            rows = ended(world, len(world.log()))
        assert 5 <= len(rows) <= 5 + world.api.kit.settings.worker_threads
        assert len(there.requests) == 3 * len(rows)

    @pytest.mark.parametrize("is_deleted", [False, True])
    def test_an_unknown_or_deleted_event_is_logged_only(self, world, receiver, working, caplog, is_deleted):
        there = receiver(answer=lambda request: reply(200, b"{}"))
        world.add_contract(there.url("/", "127.0.0.1"), reply_to="nothing-here")
        if is_deleted:
            world.api.ask("DELETE", f"/event/{world.add_event('nothing-here')}", status=201)
        with working(world.api):
            world.send({})
            (row,) = ended(world, 1)
        assert row["state"] == ["processed"]
        assert "nothing-here, which is no event" in caplog.text
