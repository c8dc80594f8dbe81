"""Events over the API, on both stores: who may publish what, series, and what follows from an event."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from extensions.tapis.expiry import remove_ended
from extensions.tapis.series import series_key
from extensions.tapis.times import read_timestamp
from tests.extensions.tapis.api import EMAIL, WEBHOOK, World, kit_count
from tests.support.spans import HEADERS, exporter, is_continued

__all__ = ["exporter"]  # a fixture

SERIES = {"subject": "subject_1", "seriesId": "run 1"}
END = {"source": "https://tapis.io/jobs", **SERIES}


@pytest.fixture
def subscribed(jobs):
    """The service Jobs, with a subscription to all its events."""
    jobs.create(name="mine", typeFilter="jobs.*.*", subjectFilter="*")
    return jobs


class TestPublishing:
    def test_an_event_is_in_the_trace_of_its_request(self, subscribed, world, exporter):
        subscribed.headers |= HEADERS
        subscribed.publish()
        assert is_continued(exporter, world.database, "POST /v3/notifications/events/publish")

    def test_the_answer(self, jobs):
        answer = jobs.publish()
        assert (answer["result"], answer["status"]) == (None, "success")
        assert answer["message"].startswith("NTFAPI_EVENT_POSTED")
        assert "jwtUser: jobs" in answer["message"]

    def test_what_receivers_get(self, subscribed, world):
        event = {"subject": "a", "data": '{"x": 1}', "seriesId": "b", "timestamp": "half past nine", "endSeries": False}
        subscribed.publish(**event, uuid="ignored", user="ignored", seriesSeqCount=99)
        (found,) = world.notifications()
        sent = found["event"]
        assert list(found) == [
            "uuid",
            "tenant",
            "subscriptionName",
            "eventUuid",
            "event",
            "deliveryTarget",
            "created",
        ]
        assert list(sent) == [
            "source",
            "type",
            "subject",
            "data",
            "seriesId",
            "seriesSeqCount",
            "timestamp",
            "deleteSubscriptionsMatchingSubject",
            "endSeries",
            "tenant",
            "user",
            "received",
            "uuid",
        ]
        assert (
            sent.items()
            >= {
                **event,
                "source": "https://tapis.io/jobs",
                "type": "jobs.job.complete",
                "seriesSeqCount": 1,
                "tenant": world.tenant,
                "user": "testuser1",
                "deleteSubscriptionsMatchingSubject": False,
            }.items()
        )
        assert uuid.UUID(sent["uuid"]).version == 4
        assert found["eventUuid"] == sent["uuid"] != found["uuid"]
        assert datetime.fromisoformat(sent["received"]) <= datetime.fromisoformat(found["created"]) <= datetime.now(UTC)
        assert (found["tenant"], found["subscriptionName"]) == (world.tenant, "mine")
        assert found["deliveryTarget"] == WEBHOOK

    def test_nulls_are_there(self, subscribed, world):
        subscribed.publish()
        (found,) = world.notifications()
        assert [found["event"][key] for key in ("subject", "data", "seriesId")] == [None, None, None]

    def test_a_notification_for_each_target(self, jobs, world):
        jobs.create(deliveryTargets=[WEBHOOK, EMAIL])
        jobs.create(deliveryTargets=[WEBHOOK])
        jobs.publish(subject="subject_1")
        found = world.notifications()
        assert [each["deliveryTarget"] for each in found] == [WEBHOOK, EMAIL, WEBHOOK]
        assert len({each["uuid"] for each in found}) == 3
        assert len({each["eventUuid"] for each in found}) == 1

    def test_what_is_to_be_delivered_is_kept(self, jobs, world):
        for number in range(5):
            jobs.create(name=f"name{number}", deliveryTargets=[EMAIL if number % 2 else WEBHOOK])
        jobs.publish(subject="subject_1")
        found = world.notifications()
        assert [each["subscriptionName"] for each in found] == [f"name{number}" for number in range(5)]
        assert [each["deliveryTarget"] for each in found] == [WEBHOOK, EMAIL, WEBHOOK, EMAIL, WEBHOOK]
        assert {each["eventUuid"] for each in found} == {found[0]["event"]["uuid"]}
        assert len({each["uuid"] for each in found}) == 5
        assert all(each["created"] for each in found)
        jobs.ask("PATCH", "/subscriptions/byName/name0", {"deliveryTargets": [EMAIL]})
        assert world.notifications() == found[1:]

    def test_the_old_way(self, subscribed, world):
        answer = subscribed.publish(path="/events", subject="a")
        assert answer["message"].startswith("NTFAPI_EVENT_POSTED")
        reply = world.client.post(
            "/v3/notifications/events/",
            headers=subscribed.headers,
            json={"source": "s", "type": "jobs.a.b", "timestamp": "t"},
        )
        assert reply.headers["Deprecation"] == "@1710374400"
        assert reply.headers["Link"] == '</v3/notifications/events/publish>; rel="successor-version"'
        assert len(world.notifications()) == 2

    @pytest.mark.parametrize(
        ("who", "status", "key"),
        [
            (lambda world: world.user(), 401, "NTFLIB_EVENT_UNAUTH"),
            (lambda world: world.user("testadmin"), 401, "NTFLIB_EVENT_UNAUTH"),
            (lambda world: world.nobody(), 401, "NTFLIB_UNAUTH"),
            (lambda world: world.jobs(service="files"), 400, "NTFLIB_EVENT_SVC_NOMATCH"),
        ],
    )
    def test_who_may_not(self, world, who, status, key):
        assert who(world).publish(status=status)["message"].startswith(key)

    @pytest.mark.parametrize(
        "changes",
        [
            {"type": "jobs"},
            {"type": "jobs.*.*"},
            {"timestamp": None},
            {"data": {}},
            {"endSeries": "true"},
            {"source": " "},
        ],
    )
    def test_what_is_refused_takes_no_count(self, subscribed, world, changes):
        subscribed.publish(**SERIES)
        subscribed.publish(status=400, **{**SERIES, **changes})
        world.jobs(service="files").publish(status=400, **SERIES)
        subscribed.publish(**SERIES)
        assert world.counts() == [1, 2]

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\x00"])
    def test_bodies_that_are_no_json_object(self, jobs, body):
        jobs.post("/events/publish", body, status=400)

    @pytest.mark.parametrize(
        ("more", "key", "kept", "done"),
        [
            (b'"data": "caf\\udce9"', "data", "caf\ufffd", "half a character was read as U+FFFD"),
            (b'"subject": "a\xed\xb3\xa9b"', "subject", "a\ufffdb", "half a character was read as U+FFFD"),
            (b'"data": NaN', "data", None, "NaN or Infinity was read as null"),
            (b'"more": [Infinity]', "data", None, "NaN or Infinity was read as null"),
            (b'"data": "{\\"a\\": NaN}"', "data", '{"a": NaN}', ""),  # a text, which is not read
        ],
    )
    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
    def test_what_python_writes_for_json_is_taken(self, subscribed, world, caplog, mark, more, key, kept, done):
        event = b'{"source": "s\\n", "type": "jobs.a.b", "timestamp": "t", '
        subscribed.post("/events/publish", mark + event + more + b"}")
        (found,) = world.notifications()
        assert found["event"][key] == kept
        warnings = [record.getMessage() for record in caplog.records if record.name == "extension_kit.tapis"]
        assert len(warnings) == (1 if mark or done else 0)
        for warning in warnings:
            assert "Invalid JSON repaired in the body of /v3/notifications/events/publish" in warning
            assert " type='jobs.a.b' source='s\\n'" in warning
            assert done in warning
            assert ("byte order mark" in warning) == bool(mark)

    def test_other_bodies_are_read_like_this_too(self, subscribed):
        subscribed.post("/events/endSeries", b'\xef\xbb\xbf{"source": "s", "subject": "a", "seriesId": "b\\udce9"}')
        targets = json.dumps([WEBHOOK]).encode()
        wanted = (
            b'\xef\xbb\xbf{"typeFilter": "jobs.*.*", "subjectFilter": "a", "deliveryTargets": %s, "ttlMinutes": NaN}'
        )
        subscribed.post("/subscriptions", wanted % targets, status=400)  # null is not allowed there
        subscribed.post("/subscriptions", wanted.replace(b"NaN", b"5") % targets, status=201)
        subscribed.ask("PATCH", "/subscriptions/byName/mine", b'{"description": "caf\\udce9"}')
        assert subscribed.found("mine")["description"] == "caf\ufffd"

    def test_for_another_tenant(self, world, make_world):
        other = World(world.database, world.service)
        for each in (world, other):
            each.jobs().create(typeFilter="jobs.*.*", subjectFilter="*")
        world.jobs().publish(tenant=other.tenant, **SERIES)
        other.jobs().publish(**SERIES)
        assert (world.counts(), other.counts()) == ([], [1, 2])
        assert other.notifications()[0]["event"]["tenant"] == other.tenant
        restricted = make_world(EXTENSION_TAPIS_ALLOWED_TENANTS=f"admin={world.tenant}")
        caller = restricted.jobs(tenant=world.tenant)
        assert caller.publish(status=401, tenant=other.tenant)["message"].startswith("NTFLIB_EVENT_UNAUTH")
        caller.post("/events/endSeries", END, status=401, tenant=other.tenant)
        caller.publish(tenant=world.tenant)

    def test_texts_that_are_long_or_strange(self, subscribed, world):
        strange = "a\x00b\n" + "ä" * 5000
        jobs = {"subject": strange, "seriesId": strange, "data": strange, "timestamp": "t" * 1000, "source": "s" * 3000}
        subscribed.publish(**jobs)
        subscribed.publish(**jobs)
        first, second = (each["event"] for each in world.notifications())
        assert first.items() >= jobs.items()
        assert (first["seriesSeqCount"], second["seriesSeqCount"]) == (1, 2)
        subscribed.publish(**jobs, deleteSubscriptionsMatchingSubject=True)
        subscribed.publish(status=400, tenant="a\x00b")
        subscribed.publish(status=200, tenant="x" * 5000)


class TestMatching:
    @pytest.mark.parametrize(
        ("type_filter", "subject_filter", "type", "subject", "matches"),
        [
            ("jobs.job.complete", "a", "jobs.job.complete", "a", True),
            ("jobs.*.complete", "a", "jobs.job.complete", "a", True),
            ("jobs.job.*", "a", "jobs.job.complete", "a", True),
            ("jobs.*.*", "*", "jobs.job.complete", "a", True),
            ("jobs.*.*", "*", "jobs.job.complete", None, True),
            ("jobs.*.*", "*", "jobs.job.complete", "*", True),
            ("jobs.*.*", "a", "jobs.job.complete", None, False),
            ("jobs.*.*", "a", "jobs.job.complete", "A", False),
            ("jobs.*.*", "a", "jobs.job.complete", "ab", False),
            ("jobs.*.*", "a*", "jobs.job.complete", "ab", False),
            ("jobs.*.*", "*", "jobs.job.complete", "", True),
            ("jobs.JOB.complete", "a", "jobs.job.complete", "a", False),
            ("jobs.job.comp", "a", "jobs.job.complete", "a", False),
            ("files.*.*", "*", "jobs.job.complete", "a", False),
            ("jobs.other.*", "*", "jobs.job.complete", "a", False),
            ("jobs.*.other", "*", "jobs.job.complete", "a", False),
        ],
    )
    def test_filters(self, jobs, world, type_filter, subject_filter, type, subject, matches):
        jobs.create(typeFilter=type_filter, subjectFilter=subject_filter)
        jobs.publish(type=type, subject=subject)
        assert len(world.notifications()) == matches

    def test_neither_the_owner_nor_the_source_counts(self, jobs, world):
        world.jobs("testuser2").create()
        jobs.create()
        jobs.publish(subject="subject_1", source="anything")
        assert len(world.notifications()) == 2

    def test_what_is_changed_counts_for_what_comes_then(self, jobs, world):
        jobs.create(name="mine", subjectFilter="a")
        jobs.publish(subject="a")
        jobs.ask("PATCH", "/subscriptions/byName/mine", {"subjectFilter": "b"})
        jobs.publish(subject="a")
        jobs.publish(subject="b")
        jobs.post("/subscriptions/mine/disable")
        jobs.publish(subject="b")
        jobs.post("/subscriptions/mine/enable")
        jobs.publish(subject="b")
        assert [each["event"]["subject"] for each in world.notifications()] == ["a", "b", "b"]

    def test_tenants_are_apart(self, world):
        other = World(world.database, world.service)
        for each in (world, other):
            each.jobs().create(typeFilter="jobs.*.*", subjectFilter="*")
        world.jobs().publish(**SERIES)
        assert (world.counts(), other.counts()) == ([1], [])


class TestSeries:
    def test_counts(self, subscribed, world):
        for _ in range(3):
            subscribed.publish(**SERIES)
        assert world.counts() == [1, 2, 3]

    def test_what_a_series_is(self, subscribed, world):
        other = World(world.database, world.service)
        for changes in (
            {},
            {"source": "other"},
            {"subject": "other"},
            {"seriesId": "other"},
            {"type": "jobs.other.type"},
        ):
            subscribed.publish(**{**SERIES, **changes})
        other.jobs().publish(**SERIES)
        assert world.counts() == [1, 1, 1, 1, 2]

    @pytest.mark.parametrize(
        "parts",
        [{"seriesId": "a"}, {"subject": "a"}, {"subject": "", "seriesId": "a"}, {"subject": "a", "seriesId": " "}],
    )
    def test_what_is_in_no_series(self, subscribed, world, parts):
        subscribed.publish(**parts)
        subscribed.publish(**parts)
        assert world.counts() == [-1, -1]

    def test_filters_see_gaps(self, jobs, world):
        jobs.create(typeFilter="jobs.job.complete", subjectFilter="subject_1")
        for type in ("jobs.job.begin", "jobs.job.complete", "jobs.job.begin", "jobs.job.complete"):
            jobs.publish(type=type, **SERIES)
        assert world.counts() == [2, 4]

    def test_ended_by_a_call(self, subscribed, world):
        for _ in range(2):
            subscribed.publish(**SERIES)
        answer = subscribed.post("/events/endSeries", END)
        assert answer["result"] == {"changes": 1}
        assert answer["message"].startswith("NTFAPI_EVENT_ENDSERIES")
        assert subscribed.post("/events/endSeries", END)["result"] == {"changes": 0}
        subscribed.publish(**SERIES)
        assert world.counts() == [1, 2, 1]

    def test_who_may_end_one(self, world, subscribed):
        subscribed.publish(**SERIES)
        assert world.user().post("/events/endSeries", END, status=401)["message"].startswith("NTFLIB_EVENT_UNAUTH")
        for missing in END:
            subscribed.post("/events/endSeries", {key: END[key] for key in END if key != missing}, status=400)
        assert subscribed.post("/events/endSeries", {**END, "subject": " "})["result"] == {"changes": 0}
        assert subscribed.post("/events/endSeries", END, tenant=world.tenant)["result"] == {"changes": 1}

    def test_ended_by_an_event(self, subscribed, world):
        for ends in (False, True, False):
            subscribed.publish(**SERIES, endSeries=ends)
        assert world.counts() == [1, 2, 1]
        assert [each["event"]["endSeries"] for each in world.notifications()] == [False, True, False]

    def test_ended_by_an_event_that_nobody_wants(self, jobs, world):
        jobs.publish(**SERIES)
        jobs.publish(**SERIES, endSeries=True)
        jobs.create(typeFilter="jobs.*.*", subjectFilter="*")
        jobs.publish(**SERIES)
        assert world.counts() == [1]

    def test_ended_with_the_subscriptions(self, subscribed, world):
        subscribed.publish(**SERIES)
        subscribed.publish(**SERIES, deleteSubscriptionsMatchingSubject=True)
        subscribed.publish(**SERIES)
        assert world.counts() == [1, 2, 1]

    def test_publishers_at_once_leave_no_gap_and_keep_the_order(self, subscribed, world):
        callers = [World(world.database, world.service, world.tenant).jobs() for _ in range(4)]

        def publish(caller):
            for number in range(10):
                caller.publish(timestamp=f"event {number}", **SERIES)

        with ThreadPoolExecutor(len(callers)) as pool:
            list(pool.map(publish, callers, timeout=60))
        assert world.counts() == list(range(1, 41))

    def test_keys_do_not_run_into_each_other(self):
        keys = {series_key(*parts) for parts in (("a", "b", "c", "d"), ("ab", "", "c", "d"), ("a", "b", "cd", "d"))}
        assert len(keys) == 3
        assert all(len(key) == 64 for key in keys)


class TestEndingSubscriptions:
    def test_those_with_exactly_the_subject_of_any_owner(self, jobs, world):
        world.jobs("testuser2").create(name="theirs", subjectFilter="a")
        for name, subject in (("mine", "a"), ("all", "*"), ("other", "ab")):
            jobs.create(name=name, subjectFilter=subject)
        elsewhere = World(world.database, world.service)
        elsewhere.jobs().create(name="elsewhere", subjectFilter="a")
        jobs.publish(subject="a", deleteSubscriptionsMatchingSubject=True)
        jobs.publish(subject="a")
        names = [each["subscriptionName"] for each in world.notifications()]
        assert names == ["theirs", "mine", "all", "all"]  # the event itself still reaches them, the next does not
        assert elsewhere.jobs().names() == ["elsewhere"]

    @pytest.fixture
    def settled(self, monkeypatch):
        monkeypatch.setattr("extensions.tapis.expiry._SKEW", datetime.resolution)

    def test_they_go_when_nothing_waits_for_them(self, jobs, world, settled):
        jobs.create(name="owed", subjectFilter="a")
        jobs.create(name="free", subjectFilter="a", typeFilter="files.*.*")
        jobs.create(name="other", subjectFilter="*")
        jobs.publish(subject="a", deleteSubscriptionsMatchingSubject=True)
        remove_ended(world.kit, world.settings)
        assert jobs.names() == ["owed", "other"]
        assert kit_count(world) == 2

    def test_an_event_that_nobody_wants_ends_them_too(self, jobs, world, settled):
        jobs.create(name="mine", subjectFilter="a", typeFilter="files.*.*")
        jobs.publish(subject="a", deleteSubscriptionsMatchingSubject=True)
        remove_ended(world.kit, world.settings)
        assert jobs.names() == []

    @pytest.mark.parametrize("subject", [None, "", "*"])
    def test_no_subject_ends_none(self, jobs, world, settled, subject):
        jobs.create(name="mine", subjectFilter="*")
        jobs.publish(subject=subject, deleteSubscriptionsMatchingSubject=True)
        jobs.publish(subject="a")
        assert len(world.notifications()) == 2


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-06-12T14:03:21Z", datetime(2024, 6, 12, 14, 3, 21, tzinfo=UTC)),
        ("2024-06-12T14:03:21.615954424Z", datetime(2024, 6, 12, 14, 3, 21, 615954, tzinfo=UTC)),
        ("2024-06-12T16:03:21+02:00", datetime(2024, 6, 12, 14, 3, 21, tzinfo=UTC)),
        ("2024-06-12", datetime(2024, 6, 12, tzinfo=UTC)),
        ("0001-01-01T00:00:00+23:00", None),
        ("half past nine", None),
        ("", None),
    ],
)
def test_timestamps(text, time):
    assert read_timestamp(text) == time
