"""Subscriptions over the API, on both stores: what upstream's own tests say, and the documented statuses."""

import json
import threading
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from sqlalchemy import insert, select, update

from extension_kit.deliveries import subscription_groups
from extension_kit.deliveries import subscriptions as subscription_actions
from extension_kit.deliveries.retention import clean
from extension_kit.deliveries.tables import deliveries, events
from extensions.tapis.delivery_targets import group_of
from extensions.tapis.expiry import remove_ended
from extensions.tapis.tables import subscriptions
from tests.extensions.tapis.api import EMAIL, WEBHOOK, kit_count

ALL = {
    "tenant",
    "name",
    "description",
    "owner",
    "enabled",
    "typeFilter",
    "subjectFilter",
    "deliveryTargets",
    "ttlMinutes",
    "uuid",
    "expiry",
    "created",
    "updated",
}
OTHER = {"deliveryMethod": "WEBHOOK", "deliveryAddress": "https://other.example.com/"}
THIRD = {"deliveryMethod": "WEBHOOK", "deliveryAddress": "https://third.example.com/"}


def time_of(text):
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def group(connection, world, name):
    """The kit's subscriptions for one of testuser1, oldest first."""
    mine = subscriptions.c.tenant == world.tenant, subscriptions.c.name == name
    row = connection.execute(select(subscriptions).where(*mine)).one()
    return subscription_groups.get_group(connection, "tapis", group_of(row))


def targets_of(world, name):
    """The kit's subscriptions for one of testuser1, in the order of its delivery targets."""
    found = {each["deliveryAddress"]: place for place, each in enumerate(world.jobs().found(name)["deliveryTargets"])}
    with world.database.read() as connection:
        return sorted(group(connection, world, name), key=lambda each: found[address_of(each)])


def address_of(subscription):
    return subscription.target.get("url") or subscription.target["to"][0]


class TestCreating:
    def test_only_services_may(self, world):
        answer = world.user().create(status=401)
        assert answer["message"].startswith("NTFAPI_SUBSCR_UNAUTH")
        assert answer["status"] == "error"

    def test_what_was_created_is_found(self, jobs, world):
        wanted = {
            "name": "mine",
            "description": "what for",
            "typeFilter": "jobs.*.complete",
            "subjectFilter": "subject_filter_1",
            "deliveryTargets": [WEBHOOK, EMAIL],
            "ttlMinutes": 1000,
        }
        assert jobs.create(**wanted) == "mine"
        found = jobs.found("mine")
        assert found.keys() == ALL
        assert found.items() >= {**wanted, "owner": "testuser1", "tenant": world.tenant, "enabled": True}.items()
        assert uuid.UUID(found["uuid"])
        assert world.user().found("mine") == found

    def test_the_answer_leads_to_it(self, jobs):
        body = {"name": "mine", "typeFilter": "jobs.a.b", "subjectFilter": "*", "deliveryTargets": [WEBHOOK]}
        answer = jobs.post("/subscriptions/", body, status=201)
        assert answer["result"] == {"url": "http://localhost/v3/notifications/subscriptions/mine"}
        assert answer["message"].startswith("NTFAPI_SUBSCR_CREATED")

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"subjectFilter": "abc"}, "jobs~testuser1~{tenant}~abc~"),
            ({"name": None, "subjectFilter": "*"}, "jobs~testuser1~{tenant}~ALL~"),
            ({"name": "", "subjectFilter": "/a b/ä?"}, "jobs~testuser1~{tenant}~_a_b___~"),
            ({"subjectFilter": "s" * 100}, "jobs~testuser1~{tenant}~" + "s" * 40 + "~"),
            ({"owner": "-anna/b"}, "jobs~-anna_b~{tenant}~subject_1~"),
        ],
    )
    def test_without_a_name_one_is_made(self, jobs, world, changes, name):
        first, second = jobs.create(**changes), jobs.create(**changes)
        assert first != second
        for each in (first, second):
            assert each[:-4] == name.format(tenant=world.tenant)
            assert jobs.found(each, ownedBy=changes.get("owner", "testuser1"))["name"] == each

    def test_names_are_unique_for_each_owner(self, jobs):
        jobs.create(name="mine")
        answer = jobs.create(name="mine", status=409, typeFilter="jobs.other.thing")
        assert answer["message"].startswith("NTFAPI_SUBSCR_EXISTS")
        assert answer["result"]["url"].endswith("/v3/notifications/subscriptions/byName/mine")
        assert jobs.found("mine")["typeFilter"] == "jobs.job.complete"
        assert jobs.create(name="mine", owner="testuser2") == "mine"

    def test_of_several_at_once_one_is_made(self, world):
        replies = []

        def create(caller):
            body = {"name": "mine", "typeFilter": "jobs.a.b", "subjectFilter": "*", "deliveryTargets": [WEBHOOK]}
            path = "/v3/notifications/subscriptions"
            replies.append(caller.client.post(path, json=body, headers=caller.headers).status_code)

        callers = [type(world)(world.database, world.service, world.tenant).jobs() for _ in range(4)]
        threads = [threading.Thread(target=create, args=[caller]) for caller in callers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(replies) == [201, 409, 409, 409]
        assert kit_count(world) == 1

    @pytest.mark.parametrize("owner", ["${apiUserId}", "${APIUSERID}"])
    def test_the_owner_is_the_user_unless_another_is_named(self, jobs, owner):
        assert jobs.found(jobs.create(owner=owner))["owner"] == "testuser1"
        assert jobs.found(jobs.create(name="a", owner="somebody"), ownedBy="somebody")["owner"] == "somebody"

    @pytest.mark.parametrize(("ttl", "seconds"), [(1000, 60000), (None, 7 * 86400), (0, None), (-5, None)])
    def test_time_to_live(self, jobs, ttl, seconds):
        before = datetime.now(UTC)
        found = jobs.found(jobs.create(**({} if ttl is None else {"ttlMinutes": ttl})))
        assert found["ttlMinutes"] == (10080 if ttl is None else ttl)
        assert found["created"] == found["updated"]
        if seconds is None:
            assert found["expiry"] is None
        else:
            assert time_of(found["expiry"]) == time_of(found["created"]) + timedelta(seconds=seconds)
            assert before <= time_of(found["created"]) <= datetime.now(UTC)

    @pytest.mark.parametrize(
        "target",
        [
            {"deliveryMethod": "EMAIL", "deliveryAddress": "abc@example1.com"},
            *(
                {"deliveryMethod": "WEBHOOK", "deliveryAddress": url}
                for url in (
                    "http://example2.com/test",
                    "https://www.fakeorg.org/test[/]",
                    "http://localhost",
                    "http://127.0.0.1/test_it",
                    "http://service.cluster.local:8080/a?b=c",
                )
            ),
        ],
    )
    def test_addresses_that_are_taken(self, jobs, target):
        assert jobs.found(jobs.create(deliveryTargets=[target]))["deliveryTargets"] == [target]

    @pytest.mark.parametrize(
        ("method", "address", "key"),
        [
            *(
                ("EMAIL", each, "NTFLIB_DLVRY_ADDR_NOT_EMAIL")
                for each in ("abc", "abc@", "@example.com", "abc@example com", "@@@")
            ),
            *(("EMAIL", each, "NTFAPI_INVALID_JSON") for each in (None, "", "a@")),
            *(
                ("WEBHOOK", each, "NTFLIB_DLVRY_ADDR_NOT_URL")
                for each in (
                    "abc",
                    "abc.com",
                    "/abc",
                    "ftp://example.com",
                    "http://",
                    "http://a b/",
                    "file:///etc/passwd",
                )
            ),
        ],
    )
    def test_addresses_that_are_refused(self, jobs, world, method, address, key):
        target = {"deliveryMethod": method, "deliveryAddress": address}
        answer = jobs.create(deliveryTargets=[WEBHOOK, target], status=400)
        assert answer["message"].startswith(key)
        assert jobs.names() == []
        assert kit_count(world) == 0

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"a"', b"\xff", b'{"name": "\\ud800"}', b"{}" * 2])
    def test_bodies_that_are_no_json_object(self, jobs, body):
        jobs.post("/subscriptions", body, status=400)

    def test_a_body_that_is_too_large(self, make_world, monkeypatch):
        world = make_world()
        world.client.application.config["MAX_CONTENT_LENGTH"] = 100
        world.jobs().post("/subscriptions", b" " * 101, status=413)


class TestFinding:
    def test_of_another_user(self, world, jobs):
        jobs.create(name="mine")
        assert world.user("testuser2").get("/subscriptions/byName/mine", ownedBy="testuser1", status=401)
        assert world.user("testuser2").get("/subscriptions/byName/mine", status=404)  # of the caller there is none
        assert world.user("testadmin").found("mine", ownedBy="testuser1")["name"] == "mine"
        assert world.jobs("testuser2").found("mine", ownedBy="testuser1")["name"] == "mine"

    def test_of_another_tenant(self, world, jobs):
        jobs.create(name="mine")
        other = type(world)(world.database, world.service)
        other.jobs().get("/subscriptions/byName/mine", status=404)
        other.jobs().get(f"/subscriptions/byUuid/{jobs.found('mine')['uuid']}", status=404)
        assert other.jobs().ask("DELETE", f"/subscriptions/byUuid/{jobs.found('mine')['uuid']}")["result"] == {
            "changes": 0
        }
        assert other.jobs().names(anyOwner="true") == []

    def test_one_that_is_not_there(self, jobs):
        answer = jobs.get("/subscriptions/byName/none", status=404)
        assert (answer["message"].split()[0], answer["status"], answer["result"]) == ("NTFAPI_NOT_FOUND", "error", None)
        jobs.get("/subscriptions/none/isEnabled", status=404)
        for action in ("enable", "disable", "updateTTL/5"):
            jobs.post(f"/subscriptions/none/{action}", status=404)
        jobs.ask("PATCH", "/subscriptions/byName/none", {}, status=404)
        answer = jobs.get(f"/subscriptions/byUuid/{uuid.uuid4()}", status=404)
        assert answer["message"].startswith("NTFAPI_NOT_FOUND_BY_UUID")
        jobs.get("/subscriptions/byName/a%00b", status=400)

    def test_by_uuid(self, world, jobs):
        jobs.create(name="mine")
        found = jobs.found("mine")
        for caller in (jobs, world.user(), world.user("testadmin")):
            assert caller.get(f"/subscriptions/byUuid/{found['uuid'].upper()}")["result"] == found
        world.user("testuser2").get(f"/subscriptions/byUuid/{found['uuid']}", status=401)
        jobs.get("/subscriptions/byUuid/garbage", status=400)
        jobs.ask("DELETE", "/subscriptions/byUuid/garbage", status=400)

    def test_select(self, jobs):
        jobs.create(name="mine", ttlMinutes=0)
        assert jobs.found("mine", select="enabled,expiry,deliveryTargets") == {
            "name": "mine",
            "enabled": True,
            "expiry": None,
            "deliveryTargets": [WEBHOOK],
        }


class TestListing:
    @pytest.fixture
    def six(self, world):
        """Six with one subject filter, three of each of two users."""
        return [world.jobs(user).create(subjectFilter="X") for user in ("testuser1", "testuser2") for _ in range(3)]

    def test_who_sees_what(self, world, six):
        search = "subject_filter.eq.X"
        assert sorted(world.jobs().names(search=search, anyOwner="true")) == sorted(six)
        assert world.user("testuser1").names(search=search) == six[:3]
        assert world.user("testuser2").names(search=search) == six[3:]
        assert world.user("testadmin").names(search=search, ownedBy="testuser2") == six[3:]
        assert world.jobs("testuser1").names(search=search, ownedBy="testuser2") == six[3:]
        assert world.jobs().names(anyOwner="True", ownedBy="testuser2") == six
        world.user("testuser2").get("/subscriptions", search=search, ownedBy="testuser1", status=401)
        for user in ("testuser1", "testadmin"):
            world.user(user).get("/subscriptions", anyOwner="true", status=401)

    def test_the_three_ways_to_search_find_the_same(self, world, six):
        user = world.user()
        assert user.names(search=f"name.eq.{six[1]}".replace("~", "\\~")) == [six[1]]
        assert user.names("/subscriptions/search", **{"name.eq": six[1]}) == [six[1]]
        body = {"search": ["name =", f"'{six[1]}'", "AND (enabled = 'false'", "OR owner LIKE 'test%')"]}
        assert [each["name"] for each in user.post("/subscriptions/search", body)["result"]] == [six[1]]
        page = {"limit": 1, "skip": 1, "orderBy": "created(desc)", "computeTotal": "True", "select": "uuid"}
        expected = user.get("/subscriptions", search="enabled.eq.true", **page)
        assert user.get("/subscriptions/search", **{"enabled.eq": "true"}, **page) == expected
        assert user.post("/subscriptions/search", {"search": ["enabled = true"]}, **page) == expected
        assert expected["metadata"]["totalCount"] == 3

    def test_searches_of_owners(self, world, six):
        for way in ({"method": "GET"}, {"method": "POST", "body": {"search": ["enabled = true"]}}):
            found = world.user("testadmin").ask(path="/subscriptions/search", ownedBy="testuser2", **way)["result"]
            assert [each["name"] for each in found] == six[3:]
            world.user("testuser2").ask(path="/subscriptions/search", ownedBy="testuser1", status=401, **way)

    def test_metadata(self, jobs, six):
        answer = jobs.get("/subscriptions")
        assert answer["metadata"] == {
            "recordCount": 3,
            "recordLimit": 100,
            "recordsSkipped": 0,
            "orderBy": None,
            "startAfter": None,
            "totalCount": -1,
        }
        assert {frozenset(each) for each in answer["result"]} == {
            frozenset({"owner", "name", "typeFilter", "subjectFilter"})
        }
        query = {"anyOwner": "true", "limit": 2, "orderBy": "name(desc)", "startAfter": "zzz", "computeTotal": "true"}
        assert jobs.get("/subscriptions", **query)["metadata"] == {
            "recordCount": 2,
            "recordLimit": 2,
            "recordsSkipped": 0,
            "orderBy": "name(desc)",
            "startAfter": "zzz",
            "totalCount": 6,
        }
        assert len(jobs.names(limit=-1)) == 3
        assert len(jobs.get("/subscriptions", select="allAttributes")["result"][0]) == len(ALL)

    def test_names(self, world, jobs, six):
        for name in (
            "TestSubscr_Svc1",
            "TestSubscr_Svc2",
            "TestSubscrOther",
            "jobs~testuser1~dev~subject_filter_1~abcd",
        ):
            jobs.create(name=name)
        assert jobs.names(search="name.in.TestSubscr_Svc1,TestSubscrOther,none") == [
            "TestSubscr_Svc1",
            "TestSubscrOther",
        ]
        assert jobs.names(search="name.like.TestSubscr_Svc*") == ["TestSubscr_Svc1", "TestSubscr_Svc2"]
        search = "name.like.jobs\\~testuser1\\~dev\\~subject_filter_1*"
        assert jobs.names(search=search) == ["jobs~testuser1~dev~subject_filter_1~abcd"]
        path = "/subscriptions/byName/TestSubscr_Svc1"
        assert world.user("testadmin").ask("DELETE", path, ownedBy="testuser1")["result"] == {"changes": 1}

    @pytest.mark.parametrize(
        ("path", "query"),
        [
            ("", {"limit": "many"}),
            ("", {"skip": "many"}),
            ("", {"limit": ["1", "1"]}),
            ("", {"ownedBy": "a\x00b"}),
            ("", {"search": "name.eq.a\x00b"}),
            ("", {"startAfter": "a"}),
            ("", {"startAfter": "a", "orderBy": "name", "skip": "1"}),
            ("", {"orderBy": "other"}),
            ("", {"search": "other.eq.a"}),
            ("", {"search": "(name.eq.a"}),
            ("", {"anyOwner": "perhaps"}),
            ("/search", {"name": "a"}),
            ("/search", {"name.is": "a"}),
            ("/search", {"other.eq": "a"}),
            ("/search", {"name.eq": ["a", "b"]}),
        ],
    )
    def test_queries_that_are_refused(self, jobs, path, query):
        jobs.get(f"/subscriptions{path}", status=400, **query)

    @pytest.mark.parametrize("body", [b"", {}, {"search": []}, {"search": ["name ="]}, {"search": ["a = 1"]}])
    def test_searches_that_are_refused(self, jobs, body):
        jobs.post("/subscriptions/search", body, status=400)

    def test_what_is_no_boolean_is_no_wish_for_a_total(self, jobs, six):
        assert jobs.get("/subscriptions", computeTotal="perhaps")["metadata"]["totalCount"] == -1


class TestChanging:
    def patch(self, caller, *, status=200, **changes):
        return caller.ask("PATCH", "/subscriptions/byName/mine", changes, status=status)

    def test_all_that_can_be_changed(self, jobs, world):
        jobs.create(name="mine", deliveryTargets=[WEBHOOK, EMAIL])
        before = jobs.found("mine")
        changes = {
            "description": "another",
            "typeFilter": "files.*.*",
            "subjectFilter": "*",
            "deliveryTargets": [OTHER],
        }
        answer = self.patch(jobs, **changes)
        assert answer["result"] == {"url": "http://localhost/v3/notifications/subscriptions/byName/mine"}
        after = jobs.found("mine")
        assert time_of(after["updated"]) > time_of(before["updated"])
        assert after == {**before, **changes, "updated": after["updated"]}
        (target,) = targets_of(world, "mine")
        assert (target.patterns, target.subject, target.target["url"]) == (
            ("files.*.*",),
            None,
            OTHER["deliveryAddress"],
        )
        assert kit_count(world) == 1

    def test_what_is_not_named_stays(self, jobs, world):
        jobs.create(name="mine", description="first")
        before = jobs.found("mine")
        self.patch(jobs, description=None)
        self.patch(jobs)
        after = jobs.found("mine")
        assert after == {**before, "updated": after["updated"]}

    def test_the_time_to_live_is_not_patched(self, jobs):
        jobs.create(name="mine", ttlMinutes=1000)
        self.patch(jobs, description="new", ttlMinutes=2000, status=400)
        found = jobs.found("mine")
        assert (found["ttlMinutes"], found["description"]) == (1000, None)

    @pytest.mark.parametrize(
        "changes",
        [
            {"typeFilter": "jobs"},
            {"subjectFilter": ""},
            {"deliveryTargets": [OTHER, {"deliveryMethod": "WEBHOOK", "deliveryAddress": "nowhere"}]},
            {"deliveryTargets": [{"deliveryMethod": "WEBHOOK", "deliveryAddress": "nowhere"}]},
            {"deliveryTargets": [{"deliveryMethod": "EMAIL", "deliveryAddress": "nobody"}]},
            {"name": "other"},
            {"enabled": False},
        ],
    )
    def test_a_patch_that_is_refused_changes_nothing(self, jobs, world, changes):
        jobs.create(name="mine")
        before, targets = jobs.found("mine"), targets_of(world, "mine")
        self.patch(jobs, status=400, **{"description": "new", **changes})
        assert (jobs.found("mine"), targets_of(world, "mine")) == (before, targets)

    @pytest.mark.parametrize(
        ("before", "after", "kept"),
        [
            ([WEBHOOK, OTHER], [OTHER, WEBHOOK], [1, 0]),
            ([WEBHOOK, OTHER], [THIRD, WEBHOOK], [1, 0]),  # what waits for OTHER goes to THIRD
            ([WEBHOOK], [WEBHOOK, OTHER, EMAIL], [0, None, None]),
            ([WEBHOOK, OTHER, EMAIL], [OTHER], [1]),
            ([WEBHOOK], [EMAIL], [None]),
            ([EMAIL, WEBHOOK], [OTHER, EMAIL], [1, 0]),
        ],
    )
    def test_delivery_targets(self, jobs, world, before, after, kept):
        jobs.create(name="mine", deliveryTargets=before)
        refs = [target.ref for target in targets_of(world, "mine")]
        self.patch(jobs, deliveryTargets=after)
        found = targets_of(world, "mine")
        for target, place in zip(found, kept, strict=True):
            assert target.ref == refs[place] if place is not None else target.ref not in refs
        assert list(map(address_of, found)) == [target["deliveryAddress"] for target in after]
        assert {target.group.split("/")[1] for target in found} == {"mine"}
        assert kit_count(world) == len(after)

    def test_enabled_or_not(self, jobs, world):
        jobs.create(name="mine", deliveryTargets=[WEBHOOK, EMAIL])
        for enabled, action in ((True, None), (False, "disable"), (False, "disable"), (True, "enable")):
            if action:
                assert jobs.post(f"/subscriptions/mine/{action}")["result"] == {"changes": 1}
            assert jobs.found("mine")["enabled"] is enabled
            assert jobs.get("/subscriptions/mine/isEnabled")["result"] == {"aBool": enabled}
            assert [target.enabled for target in targets_of(world, "mine")] == [enabled, enabled]

    def test_one_that_is_disabled_from_the_beginning(self, jobs, world):
        jobs.create(name="mine", enabled=False)
        assert jobs.get("/subscriptions/mine/isEnabled")["result"] == {"aBool": False}
        jobs.publish(subject="subject_1")
        assert world.notifications() == []

    def test_updating_the_time_to_live(self, jobs, world):
        jobs.create(name="mine")
        assert jobs.post("/subscriptions/mine/updateTTL/60")["result"] == {"changes": 1}
        found = jobs.found("mine")
        assert found["ttlMinutes"] == 60
        assert time_of(found["expiry"]) == time_of(found["updated"]) + timedelta(hours=1)
        assert targets_of(world, "mine")[0].expires_at == time_of(found["expiry"])
        for ttl in ("0", "-1"):
            jobs.post(f"/subscriptions/mine/updateTTL/{ttl}")
            assert (jobs.found("mine")["expiry"], jobs.found("mine")["ttlMinutes"]) == (None, int(ttl))
            assert targets_of(world, "mine")[0].expires_at is None
        for bad in ("soon", "1.5", "9999999999"):
            jobs.post(f"/subscriptions/mine/updateTTL/{bad}", status=400)

    def test_who_may(self, world, jobs):
        jobs.create(name="mine")
        for caller, status in ((world.user("testuser2"), 401), (world.user(), 200), (world.user("testadmin"), 200)):
            owner = {"ownedBy": "testuser1"}
            for method, path, body in (
                ("PATCH", "/subscriptions/byName/mine", {"description": "x"}),
                ("POST", "/subscriptions/mine/disable", None),
                ("POST", "/subscriptions/mine/enable", None),
                ("POST", "/subscriptions/mine/updateTTL/5", None),
                ("GET", "/subscriptions/mine/isEnabled", None),
            ):
                caller.ask(method, path, body, status=status, **owner)
        world.user("testuser2").ask("DELETE", "/subscriptions/byName/mine", ownedBy="testuser1", status=401)
        assert jobs.found("mine")["ttlMinutes"] == 5

    def test_posts_without_a_body_may_say_they_are_json(self, world, jobs):
        jobs.create(name="mine")
        for action in ("enable", "disable", "updateTTL/5"):
            reply = world.client.post(
                f"/v3/notifications/subscriptions/mine/{action}", headers=jobs.headers, content_type="application/json"
            )
            assert reply.status_code == 200


class TestDeleting:
    def test_by_name(self, jobs, world):
        jobs.create(name="mine", deliveryTargets=[WEBHOOK, EMAIL])
        assert jobs.ask("DELETE", "/subscriptions/byName/mine")["result"] == {"changes": 1}
        assert jobs.ask("DELETE", "/subscriptions/byName/mine")["result"] == {"changes": 0}
        jobs.get("/subscriptions/byName/mine", status=404)
        assert kit_count(world) == 0

    def test_by_uuid(self, jobs, world):
        jobs.create(name="mine")
        path = f"/subscriptions/byUuid/{jobs.found('mine')['uuid']}"
        world.user("testuser2").ask("DELETE", path, status=401)
        assert jobs.ask("DELETE", path)["result"] == {"changes": 1}
        assert jobs.ask("DELETE", path)["result"] == {"changes": 0}
        jobs.get("/subscriptions/byName/mine", status=404)

    @pytest.mark.parametrize("owned_by", [{}, {"ownedBy": ""}, {"ownedBy": "testuser1"}])
    def test_by_subject_of_any_owner(self, jobs, world, owned_by):
        subject = "/path/to a/file"
        for user in ("testuser1", "testuser2", "testuser2", "testuser5", "testuser5"):
            world.jobs(user).create(subjectFilter=subject)
        jobs.create(name="other", subjectFilter="/path")
        jobs.create(name="all", subjectFilter="*")
        path = f"/subscriptions/bySubject/{subject.replace(' ', '%20')}"
        world.user().ask("DELETE", path, anyOwner="true", status=401)
        assert jobs.ask("DELETE", path, anyOwner="true", **owned_by)["result"] == {"changes": 5}
        assert jobs.ask("DELETE", path, anyOwner="true", **owned_by)["result"] == {"changes": 0}
        assert jobs.names(search="subject_filter.like.*/file", anyOwner="true") == []
        assert sorted(jobs.names(anyOwner="true")) == ["all", "other"]
        assert kit_count(world) == 2

    @pytest.mark.parametrize("subject", ["a\nb", "/", "a//b/", "?x=1#y", "%25", " ", "ä"])
    def test_by_any_subject(self, jobs, subject):
        jobs.create(subjectFilter=subject)
        assert jobs.ask("DELETE", f"/subscriptions/bySubject/{quote(subject)}")["result"] == {"changes": 1}

    def test_by_subject_of_one_owner(self, jobs, world):
        world.jobs("testuser2").create(subjectFilter="a")
        jobs.create(subjectFilter="a")
        assert world.user().ask("DELETE", "/subscriptions/bySubject/a")["result"] == {"changes": 1}
        world.user().ask("DELETE", "/subscriptions/bySubject/a", ownedBy="testuser2", status=401)
        assert world.user("testadmin").ask("DELETE", "/subscriptions/bySubject/a", ownedBy="testuser2")["result"] == {
            "changes": 1
        }


class TestEnding:
    def age(self, world, name, seconds):
        """Let time pass for a subscription."""
        with world.database.transaction() as connection:
            past = datetime.now(UTC) - timedelta(seconds=seconds)
            mine = subscriptions.c.tenant == world.tenant, subscriptions.c.name == name
            connection.execute(update(subscriptions).where(*mine).values(ends_at=past, expiry=past))
            for each in group(connection, world, name):
                subscription_actions.change(connection, world.kit.senders, each.ref, expires_at=past)

    def clean(self, world):
        remove_ended(world.kit, world.settings)

    def test_one_that_has_expired_gets_no_events_and_is_removed(self, jobs, world):
        for name in ("old", "young", "eternal"):
            jobs.create(name=name, ttlMinutes=0 if name == "eternal" else 60)
        self.age(world, "old", 60)
        jobs.publish(subject="subject_1")
        assert [each["subscriptionName"] for each in world.notifications()] == ["young", "eternal"]
        self.clean(world)
        assert jobs.names() == ["young", "eternal"]
        assert kit_count(world) == 2

    def test_what_was_accepted_before_is_waited_for(self, jobs, world):
        jobs.create(name="old")
        jobs.publish(subject="subject_1")
        self.age(world, "old", 60)
        self.clean(world)
        assert jobs.names() == ["old"]

    def test_more_time_saves_it(self, jobs, world):
        jobs.create(name="old")
        self.age(world, "old", 60)
        jobs.post("/subscriptions/old/updateTTL/5")
        self.clean(world)
        jobs.publish(subject="subject_1")
        assert len(world.notifications()) == 1

    @pytest.mark.parametrize(
        "change",
        [
            lambda jobs: None,
            lambda jobs: jobs.post("/subscriptions/old/disable") and jobs.post("/subscriptions/old/enable"),
            lambda jobs: jobs.ask("PATCH", "/subscriptions/byName/old", {"deliveryTargets": [OTHER, EMAIL]}),
        ],
    )
    def test_more_time_saves_all_of_it(self, jobs, world, change):
        """Also what the kit has removed, because it had expired and nothing waited for it."""
        jobs.create(name="old", subjectFilter="a", deliveryTargets=[WEBHOOK, EMAIL])
        self.age(world, "old", 60)
        clean(world.database, 30, 1e9, datetime.now(UTC))
        assert kit_count(world) == 0
        jobs.publish(subject="a", deleteSubscriptionsMatchingSubject=True)
        assert kit_count(world) == 0
        change(jobs)
        jobs.post("/subscriptions/old/updateTTL/5")
        self.clean(world)
        jobs.publish(subject="a")
        found = jobs.found("old")["deliveryTargets"]
        assert [each["deliveryTarget"] for each in world.notifications()] == found
        assert kit_count(world) == 2
        jobs.ask("DELETE", "/subscriptions/byName/old")
        assert kit_count(world) == 0

    def test_one_that_has_ended_is_not_ended_once_more(self, jobs, world):
        jobs.create(name="old", subjectFilter="a")
        self.age(world, "old", 60)
        jobs.publish(subject="a", deleteSubscriptionsMatchingSubject=True)
        self.clean(world)
        assert jobs.names() == []

    def test_one_that_has_only_just_ended_is_left_a_moment(self, jobs, world):
        """An event that is being accepted may still be for it."""
        jobs.create(name="old")
        self.age(world, "old", 1)
        self.clean(world)
        assert jobs.names() == ["old"]

    def test_an_event_that_is_being_accepted_is_waited_for(self, jobs, world, database, monkeypatch):
        """What its transaction has recorded can be seen by nobody before it is committed."""
        if database.is_sqlite:
            pytest.skip("nobody else writes meanwhile")
        monkeypatch.setattr("extensions.tapis.expiry._SKEW", datetime.resolution)
        jobs.create(name="old")
        with database.read() as connection:
            (old,) = group(connection, world, "old")
        now = datetime.now(UTC)
        event = {"source": "tapis", "event_id": world.tenant, "name": "a", "body": b"{}", "received_at": now}
        delivery = {"listener": old.key, "status": "waiting", "created_at": now, "due_at": now}
        with database.transaction() as accepting:
            (event_ref,) = accepting.execute(insert(events).values(event)).inserted_primary_key
            accepting.execute(insert(deliveries).values(event_ref=event_ref, **delivery))
            self.age(world, "old", 0)
            self.clean(world)
            assert jobs.names() == ["old"]
        self.clean(world)
        assert jobs.names() == ["old"]
        with database.transaction() as connection:
            connection.execute(update(deliveries).where(deliveries.c.event_ref == event_ref).values(status="delivered"))
        self.clean(world)
        assert jobs.names() == []

    def test_many(self, jobs, world, monkeypatch):
        monkeypatch.setattr("extensions.tapis.expiry._BATCH", 2)
        for number in range(5):
            jobs.create(name=f"old{number}")
            self.age(world, f"old{number}", 60)
        jobs.create(name="young")
        self.clean(world)
        assert jobs.names() == ["young"]


def test_json_is_compact_and_keeps_nulls(jobs, world):
    jobs.create(name="mine")
    reply = world.client.get("/v3/notifications/subscriptions/byName/mine", headers=jobs.headers)
    assert json.loads(reply.data)["result"]["description"] is None
    assert b": " not in reply.data.split(b'"result":')[1]
