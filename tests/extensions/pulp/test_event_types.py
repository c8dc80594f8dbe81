"""Event types: those of Pulp and of the settings, and what ``*`` stands for after a change."""

import pytest
from sqlalchemy import event as sqlalchemy_events

from extension_kit.errors import SettingError
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extensions.pulp.event_types import PULP_TYPES, all_types, expand
from extensions.pulp.known_types import renew_types
from extensions.pulp.settings import PulpSettings
from tests.extensions.pulp.api import EVENTS, HTTP

KNOWN = ("user.invited", "experiment.execution.failed", "experiment.execution.completed", *PULP_TYPES, "croneye.job.*")


class TestAllTypes:
    @pytest.mark.parametrize(
        ("wanted", "added"),
        [
            ([], []),
            (["user.invited"], ["user.invited"]),
            (["user.invited", "user.invited"], ["user.invited"]),
            (["experiment.execution.*"], ["experiment.execution.failed", "experiment.execution.completed"]),
            (["experiment.*.failed", "user.*"], ["experiment.execution.failed", "user.invited"]),
            (["croneye.job.error"], ["croneye.job.error"]),
            (["repo.sync.start", "repo.*"], []),
        ],
    )
    def test_names_and_patterns_are_added_to_those_of_pulp(self, wanted, added):
        assert all_types(wanted, KNOWN) == (*PULP_TYPES, *added)

    def test_all_are_those_with_a_closed_list(self):
        assert all_types(["*"], KNOWN) == (*PULP_TYPES, *KNOWN[:3])

    @pytest.mark.parametrize(
        ("wanted", "hint"),
        [
            ("experiment.execution.faild", "which no known event matches, did you mean experiment.execution.failed?"),
            ("user.invite", "did you mean user.invited?"),
            ("zzz", "which no known event matches: name events of Steadybit or of an extension served here"),
            ("zzz.*", "EXTENSION_PULP_EVENT_TYPES names zzz.*"),
        ],
    )
    def test_what_cannot_arrive_is_refused_with_the_nearest_name(self, wanted, hint):
        with pytest.raises(SettingError) as error:
            all_types(["user.invited", wanted], KNOWN)
        assert hint in str(error.value)


class TestExpand:
    @pytest.mark.parametrize(
        ("event_types", "expected"),
        [
            (["*"], [*PULP_TYPES]),
            (["repo.sync.start", "*"], [*PULP_TYPES]),
            (["repo.sync.start", "repo.sync.start"], ["repo.sync.start"]),
            (["repo.publish.start", "repo.sync.start"], ["repo.publish.start", "repo.sync.start"]),
        ],
    )
    def test_any_stands_for_all_types(self, event_types, expected):
        assert expand(event_types, PULP_TYPES) == expected


class TestSettings:
    def test_a_pattern_permits_each_name_that_it_matches(self, make_api):
        api = make_api(EXTENSION_PULP_EVENT_TYPES="experiment.execution.*, user.invited")
        names = ["experiment.execution.failed", "experiment.execution.completed", "user.invited", "repo.sync.start"]
        assert api.create(event_types=names)["event_types"] == names
        for refused in ("experiment.execution.*", "killswitch.engaged", "experiment.execution.foo"):
            error = api.ask("POST", EVENTS, {**HTTP, "event_types": [refused]}, status=400)
            assert error["property_names"] == ["event_types"]

    def test_an_unknown_name_stops_the_start(self, make_api):
        with pytest.raises(SettingError, match=r"did you mean killswitch\.engaged"):
            make_api(EXTENSION_PULP_EVENT_TYPES="killswitch.engage")

    def test_a_malformed_one_stops_the_start(self, make_api):
        with pytest.raises(SettingError, match="EXTENSION_PULP_EVENT_TYPES"):
            make_api(EXTENSION_PULP_EVENT_TYPES="a..b")


def renew(api, event_types, **options):
    settings = PulpSettings(event_types=event_types, secret="a secret of the tests, which is long enough")
    renew_types(api.kit, settings, **options)


def wanted(api):
    """The names that agents are asked for."""
    return api.service.runtime.wanted_names([*STEADYBIT_EVENT_NAMES, *PULP_TYPES])


class TestChanges:
    def test_listeners_of_all_types_follow_the_settings(self, make_api):
        api = make_api()
        api.create(event_types=["*"])
        api.create(event_types=["repo.sync.start"])
        assert wanted(api) == [*PULP_TYPES]
        renew(api, ("user.invited",))
        assert sorted(wanted(api)) == sorted([*PULP_TYPES, "user.invited"])
        renew(api, ("killswitch.engaged",))
        assert sorted(wanted(api)) == sorted([*PULP_TYPES, "killswitch.engaged"])
        renew(api, ())
        assert wanted(api) == [*PULP_TYPES]

    def test_those_that_name_their_types_are_left_as_they_are(self, make_api):
        api = make_api(EXTENSION_PULP_EVENT_TYPES="user.invited")
        api.create(event_types=["user.invited"])
        renew(api, ())
        assert wanted(api) == ["user.invited"]

    def test_more_listeners_than_are_renewed_at_once(self, api):
        made = [api.create(event_types=["*"])["id"] for _ in range(5)]
        renew(api, ("user.invited",), limit=2)
        for number in range(1, 5):
            assert "user.invited" in wanted(api)
            api.ask("DELETE", api.one(made[-number]))

    def test_without_a_change_nothing_is_written(self, api):
        api.create(event_types=["*"])
        renew(api, ("user.invited",))
        statements = []

        def note(connection, cursor, statement, *rest):
            statements.append(statement)

        engine = api.kit.database.engine
        sqlalchemy_events.listen(engine, "before_cursor_execute", note)
        renew(api, ("user.invited",))
        sqlalchemy_events.remove(engine, "before_cursor_execute", note)
        assert not [each for each in statements if each.split()[0] in ("INSERT", "UPDATE", "DELETE")]

    def test_a_waiting_delivery_stays(self, api):
        made = api.create(event_types=["*"])["id"]
        api.notify()
        renew(api, ("user.invited",))
        assert [group for group, _ in api.deliveries()] == [made]


class TestAgents:
    def asked(self, api):
        listeners = api.client.get("/").json["eventListeners"]
        return [name for each in listeners for name in each["listenTo"]]

    def test_they_are_asked_for_names_of_steadybit_only(self, make_api):
        make_api(EXTENSION_PULP_EVENT_TYPES="experiment.execution.failed,user.invited").create(event_types=["*"])
        api = make_api(EXTENSION_PULP_EVENT_TYPES="experiment.execution.failed,user.invited")
        assert sorted(self.asked(api)) == ["experiment.execution.failed", "user.invited"]

    def test_without_a_listener_they_are_asked_for_nothing(self, make_api):
        assert self.asked(make_api(EXTENSION_PULP_EVENT_TYPES="user.invited")) == []
