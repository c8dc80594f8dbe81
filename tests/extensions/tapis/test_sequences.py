"""Test sequences over the API, on both stores."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update

from extensions.tapis import events
from extensions.tapis.sequences import publish_due
from extensions.tapis.tables import test_notifications as recorded
from extensions.tapis.tables import tests as sequences
from tests.extensions.tapis.api import World, kit_count
from tests.support.waiting import wait_until


@pytest.fixture
def begin(jobs):
    """Begin a sequence and return its name."""
    return lambda **query: jobs.post("/test/begin", **query)["result"]["name"]


@pytest.fixture
def deliver(world):
    """Post what is to be delivered for sequences to the callback, as a worker would, and return the statuses."""

    def deliver(name, *notifications):
        return [
            world.client.post(f"/v3/notifications/test/callback/{name}/", json=each).status_code
            for each in notifications or world.notifications()
        ]

    return deliver


def let_time_pass(world):
    """Three seconds for the sequences of a tenant."""
    with world.database.transaction() as connection:
        due = sequences.c.tenant == world.tenant, sequences.c.next_at.is_not(None)
        connection.execute(update(sequences).where(*due).values(next_at=datetime.now(UTC)))
    publish_due(world.kit, world.settings)


def test_what_it_begins_with(jobs, world):
    answer = jobs.post("/test/begin", {})
    result = answer["result"]
    name = result["name"]
    assert (
        result.items()
        >= {
            "owner": "testuser1",
            "tenant": world.tenant,
            "typeFilter": "notifications.test.*",
            "subjectFilter": name,
            "ttlMinutes": 60,
            "enabled": True,
        }.items()
    )
    address = f"http://localhost/v3/notifications/test/callback/{name}/"
    assert result["deliveryTargets"] == [{"deliveryMethod": "WEBHOOK", "deliveryAddress": address}]
    (found,) = world.notifications()
    assert (
        found["event"].items()
        >= {
            "type": "notifications.test.begin",
            "source": "notifications",
            "subject": name,
            "seriesId": name,
            "seriesSeqCount": 1,
            "endSeries": True,
        }.items()
    )


def test_events_follow_one_by_one(begin, world):
    begin(numberOfEvents=3)
    assert world.counts() == [1]
    publish_due(world.kit, world.settings)  # too early for the next
    assert world.counts() == [1]
    for _ in range(3):
        let_time_pass(world)
    events = [each["event"] for each in world.notifications()]
    assert [event["type"].rpartition(".")[2] for event in events] == ["begin", "number002", "number003"]
    assert [event["seriesSeqCount"] for event in events] == [1, 2, 3]
    assert [event["endSeries"] for event in events] == [False, False, True]


def test_the_series_may_stay_open(begin, world):
    begin(numberOfEvents=2, endSeries="False")
    let_time_pass(world)
    assert [each["event"]["endSeries"] for each in world.notifications()] == [False, False]


def test_a_base_url_of_its_own(make_world):
    world = make_world(EXTENSION_TAPIS_BASE_URL="https://me.example.com")
    result = world.jobs().post("/test/begin")["result"]
    assert result["deliveryTargets"][0]["deliveryAddress"].startswith("https://me.example.com/v3/notifications/test/")


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("dev.tapis.io", "https://dev.tapis.io/"),
        ("tapis.io", "https://tapis.io/"),
        ("dev.tapis.io.example.com", "http://dev.tapis.io.example.com/"),
        ("nottapis.io", "http://nottapis.io/"),
        ("localhost:8080", "http://localhost:8080/"),
    ],
)
def test_the_base_url_of_the_request(world, jobs, host, base):
    reply = world.client.post("/v3/notifications/test/begin", headers={**jobs.headers, "Host": host})
    assert reply.json["result"]["deliveryTargets"][0]["deliveryAddress"].startswith(f"{base}v3/")


@pytest.mark.parametrize(
    "query",
    [
        *({"numberOfEvents": text} for text in ("0", "-1", "many", "1001", "1.5")),
        *({"subscriptionTTL": text} for text in ("soon", "99999999999")),
        {"endSeries": "perhaps"},
    ],
)
def test_queries_that_are_refused(jobs, world, query):
    jobs.post("/test/begin", status=400, **query)
    assert kit_count(world) == 0


def test_only_services_begin_and_remove(world, begin):
    world.user().post("/test/begin", status=401)
    name = begin()
    world.user().ask("DELETE", f"/test/{name}", status=401)
    assert kit_count(world) == 1


def test_results(begin, deliver, jobs, world):
    name = begin(numberOfEvents=2)
    assert jobs.get(f"/test/{name}")["result"].items() >= {"startCount": 2, "notificationCount": 0}.items()
    let_time_pass(world)
    sent = world.notifications()
    assert deliver(name) == [200, 200]
    for caller in (jobs, world.user(), world.user("testadmin")):
        result = caller.get(f"/test/{name}")["result"]
        assert (
            result.items()
            >= {
                "tenant": world.tenant,
                "owner": "testuser1",
                "subscriptionName": name,
                "startCount": 2,
                "notificationCount": 2,
                "receivedNotifications": sent,
                "receivedEvents": [each["event"] for each in sent],
            }.items()
        )
        assert result["created"] <= result["updated"]
        assert result["subscription"]["name"] == name
    world.user("testuser2").get(f"/test/{name}", status=401)
    World(world.database, world.service).jobs().get(f"/test/{name}", status=404)


def test_removed_with_everything(begin, deliver, jobs, world):
    name, other = begin(endSeries="false"), begin()
    deliver(name, world.notifications()[0])
    assert jobs.ask("DELETE", f"/test/{name}")["result"] == {"changes": 1}
    assert jobs.ask("DELETE", f"/test/{name}")["result"] == {"changes": 0}
    jobs.get(f"/test/{name}", status=404)
    assert jobs.names() == [other]
    with world.database.read() as connection:
        left = select(func.count()).select_from(recorded).where(recorded.c.test == name)
        assert connection.execute(left).scalar_one() == 0


def test_removed_while_its_next_event_is_published(begin, jobs, world, monkeypatch):
    """Neither waits for the other for ever."""
    name = begin(numberOfEvents=3)
    replies = []

    def remove():
        client = World(world.database, world.service, world.tenant).client
        replies.append(client.delete(f"/v3/notifications/test/{name}", headers=jobs.headers).status_code)

    def is_waiting():
        if world.database.is_sqlite:
            return remover.is_alive()
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with world.database.read() as connection:
            return connection.execute(text(query)).scalar_one() == 1

    remover = threading.Thread(target=remove)
    publish = events.publish

    def publish_while_it_is_removed(transaction, kit, settings, event, **more):
        if event["subject"] == name:
            remover.start()
            wait_until(is_waiting)
        publish(transaction, kit, settings, event, **more)

    monkeypatch.setattr(events, "publish", publish_while_it_is_removed)
    let_time_pass(world)
    remover.join(30)
    assert replies == [200]
    jobs.get(f"/test/{name}", status=404)


def test_one_whose_subscription_is_gone(begin, jobs, world):
    name = begin(numberOfEvents=5)
    jobs.ask("DELETE", f"/subscriptions/byName/{name}")
    let_time_pass(world)
    assert jobs.get(f"/test/{name}")["result"]["subscription"] is None
    assert jobs.ask("DELETE", f"/test/{name}")["result"] == {"changes": 1}
    let_time_pass(world)


class TestCallback:
    def test_what_is_no_notification(self, begin, deliver, world):
        name = begin()
        (sent,) = world.notifications()
        wrong = [
            {key: value for key, value in sent.items() if key != missing} for missing in sent if missing != "eventUuid"
        ]
        assert deliver(name, *wrong, {**sent, "event": "text"}) == [400] * 7

    def test_unknown_names(self, begin, deliver, world):
        begin()
        for name in ("unknown", "00000000-0000-0000-0000-000000000000", "a%00b"):
            assert deliver(name) == [400]

    def test_too_much(self, begin, deliver, world, monkeypatch):
        name = begin()
        (sent,) = world.notifications()
        assert deliver(name, {**sent, "more": "x" * 70_000}) == [400]
        monkeypatch.setattr("extensions.tapis.sequences.MAX_EVENTS", 2)
        assert deliver(name, sent, sent, sent) == [200, 200, 400]

    def test_as_deep_as_can_be_answered(self, begin, deliver, jobs, world):
        """What is read is nested more deeply than what can be written."""
        name = begin()
        (sent,) = world.notifications()

        def nested(depth):
            more = None
            for _ in range(depth):
                more = [more]
            return {**sent, "more": more}

        assert deliver(name, nested(200), nested(260), nested(600)) == [200, 400, 400]
        statuses = [deliver(name, nested(depth))[0] for depth in range(245, 256)]
        assert statuses == sorted(statuses)
        assert {*statuses} == {200, 400}
        assert jobs.get(f"/test/{name}")["result"]["notificationCount"] == 1 + statuses.count(200)

    def test_what_others_add_is_kept_as_it_is(self, begin, deliver, jobs, world):
        name = begin()
        (sent,) = world.notifications()
        strange = {**sent, "more": ["ä", None, 1.5, "\x00"]}
        assert deliver(name, strange) == [200]
        assert jobs.get(f"/test/{name}")["result"]["receivedNotifications"] == [strange]


def test_old_ones_are_forgotten(begin, jobs, world):
    old, eternal, young = begin(), begin(subscriptionTTL=0), begin()
    with world.database.transaction() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(sequences).where(sequences.c.name == old).values(keep_until=past))
    publish_due(world.kit, world.settings)
    jobs.get(f"/test/{old}", status=404)
    for name in (eternal, young):
        jobs.get(f"/test/{name}")
