"""The document that agents read, and warnings about the names in it."""

import functools

import orjson
import pytest

from extension_kit import Extension, RegistrationError
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.registration_document import build_document, list_event_listeners, list_warnings, serialize
from extension_kit.events.registry import SUBSCRIPTIONS_PATH, Registry
from extension_kit.protocol import EventProtocol


def listeners(extension):
    return build_document(extension.registry)["eventListeners"]


def nothing():
    pass


def twice(event):
    yield event


async def waits(event):
    pass


def test_the_document_has_the_documented_shape(extension):
    @extension.listen_to("*", path="/events/all")
    def everything(event):
        pass

    assert build_document(extension.registry) == {
        "eventListeners": [{"method": "POST", "path": "/events/all", "listenTo": ["*"], "restrictTo": "leader"}]
    }


def test_a_pattern_becomes_the_known_names_it_covers(extension):
    @extension.listen_to("killswitch.*")
    def stop():
        pass

    assert listeners(extension)[0]["listenTo"] == ["killswitch.engaged", "killswitch.disengaged"]


def test_a_deep_pattern_covers_all_beneath(extension):
    @extension.listen_to("experiment.*")
    def log(event):
        pass

    assert listeners(extension)[0]["listenTo"] == [name for name in STEADYBIT_EVENT_NAMES if name.startswith("experi")]


def test_everything_swallows_the_rest(extension):
    @extension.listen_to("*", "killswitch.engaged")
    def log(event):
        pass

    assert listeners(extension)[0]["listenTo"] == ["*"]


def test_functions_on_one_path_are_merged(extension):
    @extension.listen_to("killswitch.disengaged", path="/events")
    def on(event):
        pass

    @extension.listen_to("killswitch.engaged", "new.name", path="/events")
    def off(event):
        pass

    assert [entry["listenTo"] for entry in listeners(extension)] == [
        ["killswitch.engaged", "killswitch.disengaged", "new.name"]
    ]


def test_other_texts_of_restrict_to_are_passed_on(extension):
    @extension.listen_to("*", restrict_to="any")
    def a(event):
        pass

    @extension.listen_to("*", restrict_to="aws")
    def b(event):
        pass

    assert [entry["restrictTo"] for entry in listeners(extension)] == ["any", "aws"]


def test_a_listener_to_names_nobody_knows_by_pattern_is_left_out(extension):
    @extension.listen_to("other.*")
    def a(event):
        pass

    assert listeners(extension) == []


def test_other_keys_are_merged_in(extension):
    extension.listen_to("*")(nothing)
    extension.extend_index({"actions": [{"method": "GET", "path": "/a"}]})
    extension.extend_index(lambda: {"discoveries": None})
    document = build_document(extension.registry)
    assert document["actions"] == [{"method": "GET", "path": "/a"}]
    assert document["discoveries"] is None
    assert len(document["eventListeners"]) == 1


@pytest.mark.parametrize(
    ("provider", "error", "text"),
    [
        (lambda: waits(None), TypeError, r"the function returned an awaitable \(coroutine\)"),
        (lambda: [1], RegistrationError, r"the function returned \[1\], not a mapping"),
        (lambda: None, RegistrationError, "the function returned None, not a mapping"),
    ],
)
def test_a_function_that_gives_no_keys_is_told(extension, provider, error, text):
    extension.extend_index(provider)
    with pytest.raises(error, match=text):
        build_document(extension.registry)


@pytest.mark.parametrize("provider", [5, waits, twice, functools.partial(waits)])
def test_what_cannot_give_keys_is_refused_at_import(extension, provider):
    with pytest.raises(RegistrationError, match="a mapping, or a plain function that returns one"):
        extension.extend_index(provider)


@pytest.mark.parametrize("key", ["eventListeners", "actions"])
def test_a_key_given_twice_is_refused(extension, key):
    extension.extend_index({"actions": []})
    extension.extend_index({key: []})
    with pytest.raises(RegistrationError, match=f"{key} is given twice"):
        build_document(extension.registry)


def test_event_listeners_are_a_list_even_without_any():
    assert build_document(Registry()) == {"eventListeners": []}


def test_the_tag_follows_the_content_and_nothing_else():
    def build(*names):
        extension = Extension("x")
        for name in names:
            extension.listen_to(name, path=f"/events/{name}")(nothing)
        return serialize(extension.registry)

    assert build("a", "b") == build("b", "a")
    assert build("a", "b")[1] != build("a", "c")[1]
    body, etag = build("a")
    assert body.endswith(b"}\n")
    assert orjson.loads(body)["eventListeners"][0]["listenTo"] == ["a"]
    assert etag.startswith('"')
    assert etag.endswith('"')


def test_typos_are_noticed(extension):
    extension.listen_to("experiment.execution.complete", "experiment.exec.*", "killswitch.*", "*")(nothing)
    first, second = list_warnings(extension.registry)
    assert "did you mean experiment.execution.completed?" in first
    assert "experiment.exec.*" in second


def speaking(*names, source="croneye"):
    """An extension that speaks another protocol, whose events have such names."""
    extension = Extension("extension-other")
    extension.add_protocol(EventProtocol(source, object, None, names=names))
    return extension


class TestOtherProtocols:
    """Agents do not send the events of other systems, so they are not asked for them."""

    @pytest.mark.parametrize(
        ("foreign", "names", "expected"),
        [
            ((), ["croneye.job.error"], ["croneye.job.error"]),
            (("croneye.*",), ["croneye.job.error"], None),
            (("croneye.*",), ["croneye.*"], None),
            (("croneye.job.error",), ["croneye.job.error", "croneye.job.late"], ["croneye.job.late"]),
            (("croneye.*.error",), ["croneye.job.error", "croneye.error"], ["croneye.error"]),
            (("croneye.*",), ["croneye.job.error", "killswitch.engaged"], ["killswitch.engaged"]),
            (("croneye.*",), ["croneye.*", "killswitch.*"], ["killswitch.engaged", "killswitch.disengaged"]),
            (("croneye.*",), ["*"], ["*"]),
            (("croneye.*", "tapis.*"), ["tapis.job", "croneye.job", "pulp.job"], ["pulp.job"]),
            (("*",), ["croneye.job.error", "killswitch.engaged"], ["killswitch.engaged"]),
        ],
    )
    def test_names_of_theirs_are_left_out(self, foreign, names, expected):
        extension = speaking(*foreign)
        extension.listen_to(*names, path="/events/x")(nothing)
        assert [entry["listenTo"] for entry in listeners(extension)] == ([expected] if expected else [])
        assert extension.listeners[0].patterns == tuple(names)

    def test_an_extension_listens_to_what_another_one_publishes(self):
        mine = Extension("extension-mine")
        mine.listen_to("croneye.job.error")(nothing)
        assert listeners(mine)[0]["listenTo"] == ["croneye.job.error"]
        for registries in ([mine, speaking("croneye.*")], [speaking("croneye.*"), mine]):
            merged = Registry.merged(extension.registry for extension in registries)
            assert list_event_listeners(merged) == []
            assert list_warnings(merged) == []

    @pytest.mark.parametrize(
        ("foreign", "names", "doubted"),
        [
            (("croneye.*",), ["croneye.job.error", "croneye.*"], []),
            (("croneye.*",), ["cronye.job.error"], ["cronye.job.error"]),
            ((), ["cronye.*"], ["cronye.*"]),
            (("croneye.*",), ["*.job.error"], []),
            (("croneye.*",), ["killswitch.engage"], ["killswitch.engage"]),
            (("*",), ["experiment.execution.complete"], ["experiment.execution.complete"]),
            (("croneye.*",), ["*", "killswitch.engaged", "experiment.*"], []),
        ],
    )
    def test_they_are_not_doubted_unless_they_come_close_to_a_known_name(self, foreign, names, doubted):
        extension = speaking(*foreign)
        extension.listen_to(*names, path="/events/x")(nothing)
        found = list_warnings(extension.registry)
        assert [sentence.split()[3].rstrip(",") for sentence in found] == doubted

    @pytest.mark.parametrize(
        ("names", "source", "message"),
        [
            (("croneye..job",), "croneye", "parts are joined"),
            (("",), "croneye", "characters"),
            ((5,), "croneye", "is a text"),
            (("a.*",), "steadybit", "is the source of agents' events"),
        ],
    )
    def test_what_cannot_work_is_refused_at_import(self, names, source, message):
        with pytest.raises(RegistrationError, match=message):
            speaking(*names, source=source)

    def test_a_forgotten_comma_is_explained(self, extension):
        with pytest.raises(RegistrationError, match=r"write \('croneye.\*',\)"):
            extension.add_protocol(EventProtocol("croneye", object, None, names="croneye.*"))
        assert (extension.protocols, extension.registry.other_protocols) == ([], [])


def subscriptions():
    pass


class TestSubscriptions:
    def registry(self, wanted):
        extension = Extension("extension-test")
        extension.listen_to("user.invited", path="/events/a")(nothing)
        extension.registry.include_subscriptions(lambda: wanted)
        return extension.registry

    def test_agents_are_asked_for_what_subscriptions_want(self):
        assert list_event_listeners(self.registry(["killswitch.engaged", "team.created"])) == [
            {"method": "POST", "path": "/events/a", "listenTo": ["user.invited"], "restrictTo": "leader"},
            {
                "method": "POST",
                "path": SUBSCRIPTIONS_PATH,
                "listenTo": ["killswitch.engaged", "team.created"],
                "restrictTo": "leader",
            },
        ]

    def test_while_they_want_nothing_the_path_is_there_and_not_in_the_document(self):
        registry = self.registry([])
        assert [entry["path"] for entry in list_event_listeners(registry)] == ["/events/a"]
        assert registry.routes[SUBSCRIPTIONS_PATH].for_subscriptions
        assert not registry.routes["/events/a"].for_subscriptions

    def test_the_tag_follows_what_they_want(self):
        wanted = []
        registry = self.registry(wanted)
        tags = [serialize(registry)[1]]
        for change in (wanted.append, wanted.append, wanted.remove):
            change("killswitch.engaged")
            tags.append(serialize(registry)[1])
        assert tags[0] != tags[1] == tags[3] != tags[2]
        assert serialize(self.registry(["killswitch.engaged"]))[1] == tags[1]

    def test_a_listener_that_has_their_path_is_refused(self):
        extension = Extension("extension-test")
        extension.listen_to("*")(subscriptions)
        with pytest.raises(RegistrationError, match=f"subscriptions: {SUBSCRIPTIONS_PATH} is used by the kit itself"):
            extension.registry.include_subscriptions(list)
        assert list_event_listeners(extension.registry)[0]["listenTo"] == ["*"]
