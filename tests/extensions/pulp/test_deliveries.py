"""The deliveries of a listener over REST: paging, filter by status, and bad queries."""

import pytest

from tests.extensions.pulp.api import EVENTS, UNKNOWN, Worker, basic
from tests.support.receivers import receiver, reply

__all__ = ["receiver"]  # a fixture

LOCAL = {"EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8"}


def path(id):
    return f"{EVENTS}{id}/deliveries/"


@pytest.fixture
def listener(api):
    return api.create(event_types=["*"])["id"]


class TestPages:
    def test_the_newest_is_first(self, api, listener):
        assert api.ask("GET", path(listener)) == []
        ids = [api.notify()["id"] for _ in range(5)]
        api.create(event_types=["repo.sync.finish"])
        found = api.ask("GET", path(listener))
        assert [each["event_id"] for each in found] == ids[::-1]
        first = api.ask("GET", path(listener), limit=2)
        assert first == found[:2]
        assert api.ask("GET", path(listener), limit=2, before=first[-1]["delivery"]) == found[2:4]
        assert api.ask("GET", path(listener), before=found[-1]["delivery"]) == []

    def test_without_a_limit_it_is_a_hundred(self, api, listener):
        for _ in range(101):
            api.notify()
        assert len(api.ask("GET", path(listener))) == 100
        assert len(api.ask("GET", path(listener), limit=1000)) == 101

    def test_those_of_others_are_left_out(self, api, listener):
        other = api.create(event_types=["repo.sync.finish"])["id"]
        api.notify("repo.sync.start")
        assert api.ask("GET", path(other)) == []
        assert len(api.ask("GET", path(listener))) == 1

    @pytest.mark.parametrize("prefix", ["/v2/events", "/pulp/api/v2/events"])
    @pytest.mark.parametrize("end", ["", "/"])
    def test_both_paths_with_and_without_a_slash(self, api, listener, prefix, end):
        api.notify()
        assert len(api.ask("GET", f"{prefix}/{listener}/deliveries{end}")) == 1


class TestStates:
    def test_a_waiting_one(self, api, listener):
        id = api.notify()["id"]
        (found,) = api.ask("GET", path(listener))
        assert found["created"].endswith("Z")
        assert found == {
            "delivery": found["delivery"],
            "event_id": id,
            "event_type": "repo.sync.start",
            "status": "waiting",
            "attempts": 0,
            "error": None,
            "answer": None,
            "excerpt": None,
            "created": found["created"],
            "due": found["due"],
            "ended": None,
        }

    def test_the_answer_of_a_receiver(self, make_api, receiver):
        api = make_api(**LOCAL)
        statuses = iter([503, 200])
        there = receiver(answer=lambda request: reply(next(statuses), b"what it said"))
        made = api.create(notifier_config={"url": there.url("/", "127.0.0.1")}, event_types=["*"])["id"]
        api.notify()
        worker = Worker(api)
        worker.attempt()
        (found,) = api.ask("GET", path(made))
        assert (found["status"], found["attempts"], found["answer"]) == ("waiting", 1, 503)
        assert (found["error"], found["excerpt"], found["ended"]) == ("answered 503", "what it said", None)
        worker.attempt()
        (found,) = api.ask("GET", path(made))
        assert (found["status"], found["attempts"], found["answer"]) == ("delivered", 2, 200)
        assert found["error"] is None
        assert found["ended"].endswith("Z")

    def test_they_are_told_apart(self, api):
        made = api.create(notifier_config={}, event_types=["*"])["id"]
        api.notify()
        Worker(api).attempt()
        waiting = api.notify()["id"]
        (dead,) = api.ask("GET", f"{path(made)}?status=dead")
        assert dead["error"] == "HTTP notifier configured without a URL; cannot fire event"
        assert [each["event_id"] for each in api.ask("GET", f"{path(made)}?status=waiting")] == [waiting]
        for status in ("delivered", "discarded"):
            assert api.ask("GET", f"{path(made)}?status={status}") == []


class TestRefusals:
    @pytest.mark.parametrize("status", ["", "foo", "WAITING", "waiting,dead"])
    def test_an_unknown_status(self, api, listener, status):
        assert api.ask("GET", f"{path(listener)}?status={status}", status=400)["property_names"] == ["status"]

    @pytest.mark.parametrize("value", ["", "0", "-1", "+1", "1.5", "x", " 1", "1_0", "\u0661", "9" * 19, "9" * 5000])
    @pytest.mark.parametrize("name", ["limit", "before"])
    def test_what_is_no_number_in_its_range(self, api, listener, name, value):
        assert api.ask("GET", path(listener), status=400, **{name: value})["property_names"] == [name]

    def test_more_than_a_thousand_at_once(self, api, listener):
        assert api.ask("GET", path(listener), status=400, limit=1001)["property_names"] == ["limit"]

    @pytest.mark.parametrize("id", [UNKNOWN, "foo", "ä"])
    def test_there_is_no_such_listener(self, api, id):
        assert api.ask("GET", path(id), status=404)["error"]["code"] == "PLP0009"

    def test_a_user_needs_to_be_permitted_to_read(self, make_api):
        api = make_api(EXTENSION_PULP_ADMIN_USERNAME="admin", EXTENSION_PULP_ADMIN_PASSWORD="admin")
        api.ask("GET", path(UNKNOWN), status=401)
        api.ask("GET", path(UNKNOWN), status=404, headers=basic("admin", "admin"))
