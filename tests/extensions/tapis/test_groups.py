"""Events that come together: each is answered and counted as if it had come alone, on both stores."""

import http.client
import json
import random
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from extension_kit.deliveries.tables import events
from tests.extensions.tapis.api import BASE, World
from tests.extensions.tapis.together import event, publish_together
from tests.support.paths import KIT
from tests.support.refusing import refusing
from tests.support.servers import ready, run_server
from tests.support.tapis_tokens import SECRET, headers_of

TAPIS = str(Path(__file__).parents[3] / "extensions" / "tapis")


def subscribe(world, *subjects):
    """Make subscriptions to everything and to subjects, each with its subject as its name."""
    for subject in ("*", *subjects):
        world.jobs().create(name=subject.replace("*", "all"), typeFilter="jobs.*.*", subjectFilter=subject)


def notified(world):
    """The events of each subscription by their data, in order, with their counts."""
    found = {}
    for each in world.notifications():
        sent = each["event"]
        found.setdefault(each["subscriptionName"], []).append((sent["data"], sent["seriesSeqCount"]))
    return found


class TestAnswers:
    @pytest.fixture
    def refused(self, database):
        """Have the database refuse events of a type."""
        name = "jobs.not.today"
        with refusing(database, name):
            yield name

    def test_good_ones_and_bad_ones_in_one_group(self, make_world, refused):
        world = make_world()
        subscribe(world)
        series = {"subject": "a", "seriesId": "a"}
        files = headers_of("testuser1", world.tenant, service="files")
        user = headers_of("testuser1", world.tenant)
        sent = [
            (event(**series, data="first"), None, 200),
            (event(**series), {}, 401),
            (event(**series), user, 401),
            (event(**series), files, 400),
            (event(**series, type=refused), None, 500),
            (event(**series, timestamp=None), None, 400),
            (b"{", None, 400),
            (event(**series, data="last"), None, 200),
        ]
        answers = publish_together(world, *(each[0] for each in sent), headers=[each[1] for each in sent])
        assert [answer.status for answer in answers] == [each[2] for each in sent]
        assert notified(world) == {"all": [("first", 1), ("last", 2)]}
        assert answers[0].json["message"].startswith("NTFAPI_EVENT_POSTED Event published. jwtTenant: admin")
        assert answers[4].json["message"] == "Internal Server Error"

    def test_refusals_of_a_group_are_not_logged(self, make_world, caplog):
        answers = publish_together(make_world(), event(type="jobs"), b"", headers=[None, {}])
        assert [answer.status for answer in answers] == [400, 401]
        assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []

    def test_the_old_way(self, make_world):
        world = make_world()
        done, refused = publish_together(world, event(), event(), headers=[None, {}], path="/events")
        assert (done.status, refused.status) == (200, 401)
        assert done.headers["deprecation"] == "@1710374400"
        assert done.headers["link"] == '</v3/notifications/events/publish>; rel="successor-version"'
        assert not {"deprecation", "link"} & refused.headers.keys()

    def test_the_caller_is_refused_before_a_body_that_is_too_large(self, make_world):
        world = make_world()
        large = b" " * (world.kit.settings.max_body_bytes + 1)
        answers = publish_together(world, large, large, headers=[None, {}])
        assert [answer.status for answer in answers] == [413, 401]
        for headers, answer in ((world.jobs().headers, answers[0]), ({}, answers[1])):
            reply = world.client.post(f"{BASE}/events/publish", headers=headers, data=large)
            assert (reply.status_code, reply.json) == (answer.status, answer.json)

    @pytest.mark.parametrize(
        ("query", "status"), [("tenant=%FF", 401), ("tenant=a&tenant=a", 400), ("more=%00", 400), ("more=1", 200)]
    )
    def test_both_edges_read_a_query_in_the_same_way(self, make_world, query, status):
        world = make_world(EXTENSION_TAPIS_ALLOWED_TENANTS="admin=none")
        headers = headers_of("testuser1", world.tenant, service="jobs", token_tenant=world.tenant)
        (answer,) = publish_together(world, event(), headers=[headers], query=query)
        reply = world.client.post(f"{BASE}/events/publish?{query}", headers=headers, json=event())
        assert (answer.status, reply.status_code) == (status, status)
        assert answer.json == reply.json


class TestSeries:
    def test_events_of_one_group_are_counted_in_the_order_of_their_arrival(self, make_world):
        world = make_world()
        subscribe(world)
        sent = [event(subject=f"s{n % 3}", seriesId="a", data=str(n)) for n in range(30)]
        assert {answer.status for answer in publish_together(world, *sent)} == {200}
        assert notified(world) == {"all": [(str(n), n // 3 + 1) for n in range(30)]}
        assert len({each["event"]["received"] for each in world.notifications()}) == 1  # it was one group
        publish_together(world, *sent[:3])
        assert [count for _, count in notified(world)["all"][30:]] == [11, 11, 11]

    @pytest.mark.parametrize("seed", range(5))
    def test_a_group_does_what_its_events_do_one_after_the_other(self, make_world, seed):
        made = random.Random(seed)
        sent = [
            event(
                subject=made.choice(["a", "b", "c", "*", "a\x00", "", None]),
                seriesId=made.choice(["1", "2", None]),
                endSeries=made.random() < 0.2,
                deleteSubscriptionsMatchingSubject=made.random() < 0.1,
                data=str(n),
            )
            for n in range(60)
        ]
        together = make_world()
        alone = World(together.database, together.service)
        for world in (together, alone):
            subscribe(world, "a", "b", "c")
            first = event(subject="a", seriesId="1", data="first")
            world.jobs().post("/events/publish", first)
        for each in sent:
            alone.jobs().post("/events/publish", each)
        assert {answer.status for answer in publish_together(together, *sent)} == {200}
        for world in (together, alone):  # what was counted before counts on
            for subject in "abc":
                for name in "12":
                    world.jobs().post("/events/publish", event(subject=subject, seriesId=name, data="last"))
        assert notified(together) == notified(alone)


@contextmanager
def two_servers(database, directory):
    """Two web processes on one database."""
    environment = {
        "EXTENSION_TAPIS_JWT_SECRET": SECRET,
        "EXTENSION_DATABASE_URL": database.url.render_as_string(hide_password=False).replace("+psycopg", ""),
    }
    command = [KIT, "serve", TAPIS, "--no-worker"]
    with (
        run_server(command, directory / "first.log", **environment) as first,
        run_server(command, directory / "second.log", **environment) as second,
    ):
        yield ready(first), ready(second)


def send_all(server, headers, bodies, statuses):
    """Publish events one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for body in bodies:
        connection.request("POST", f"{BASE}/events/publish", json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()


def test_two_processes_count_one_series(world, database, tmp_path):
    """Whoever takes an event, it gets the next count; series and subscriptions end for both, and nobody deadlocks."""
    threads, statuses = [], []
    subscribe(world, "s0", "s1", "s2")
    with two_servers(database, tmp_path) as servers:
        for number in range(12):
            made = random.Random(number)
            bodies = [
                event(
                    subject=f"s{made.randrange(3)}",
                    seriesId="a",
                    endSeries=made.random() < 0.05,
                    deleteSubscriptionsMatchingSubject=made.random() < 0.1,
                )
                for _ in range(25)
            ]
            arguments = (servers[number % 2], world.jobs().headers, bodies, statuses)
            threads.append(threading.Thread(target=send_all, args=arguments))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert statuses == [200] * 300
    with database.read() as connection:
        query = select(events.c.body).where(events.c.source == "tapis").order_by(events.c.ref)
        found = [json.loads(body) for body in connection.execute(query).scalars()]
    mine = [each for each in found if each["tenant"] == world.tenant]
    assert len(mine) == 300
    last = {}
    for each in mine:
        assert each["seriesSeqCount"] == last.get(each["subject"], 0) + 1
        ends = each["endSeries"] or each["deleteSubscriptionsMatchingSubject"]
        last[each["subject"]] = 0 if ends else each["seriesSeqCount"]
