import functools
import gc
import subprocess
import sys
from datetime import timedelta

import orjson
import pytest

from extension_kit import Event, Extension, RegistrationError
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.registry import SUBSCRIPTIONS_PATH, Registry
from extension_kit.protocol import EventProtocol


@pytest.fixture
def extension():
    return Extension("extension-test")


def listeners(extension):
    return extension.registry.document()["eventListeners"]


def test_the_document_has_the_documented_shape(extension):
    @extension.listen_to("*", path="/events/all")
    def everything(event):
        pass

    assert extension.registry.document() == {
        "eventListeners": [{"method": "POST", "path": "/events/all", "listenTo": ["*"], "restrictTo": "leader"}]
    }


def test_the_function_comes_back_unchanged(extension):
    def page(event):
        pass

    assert extension.listen_to("*")(page) is page


def test_the_path_is_made_of_the_name(extension):
    @extension.listen_to("user.invited")
    def _greet_new_user(event):
        pass

    assert listeners(extension)[0]["path"] == "/events/greet-new-user"


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


def nothing():
    pass


def twice(event):
    yield event


async def endless(event):
    yield event


def two(event, more):
    pass


async def waits(event):
    pass


class InClass:
    def method(self, event):
        pass

    @staticmethod
    def static(event):
        pass


@pytest.mark.parametrize(
    ("names", "function", "options", "message"),
    [
        ((), nothing, {}, "at least one event"),
        (("",), nothing, {}, "characters"),
        (("a", "a"), nothing, {}, "named twice"),
        (("a..b",), nothing, {}, "parts are joined"),
        (("step-*",), nothing, {}, "whole part"),
        ((5,), nothing, {}, "is a text"),
        (("*",), nothing, {"path": "events"}, "a path is like"),
        (("*",), nothing, {"path": "/"}, "a path is like"),
        (("*",), nothing, {"path": ""}, "a path is like"),
        (("*",), nothing, {"path": "/a//b"}, "a path is like"),
        (("*",), nothing, {"path": "/a/"}, "a path is like"),
        (("*",), nothing, {"path": "/a/../b"}, "a path is like"),
        (("*",), nothing, {"path": "/a?b=c"}, "a path is like"),
        (("*",), nothing, {"path": "/ä"}, "a path is like"),
        (("*",), nothing, {"path": 5}, "a path is like"),
        (("*",), nothing, {"path": "/health/readiness"}, "used by the kit"),
        (("*",), nothing, {"path": "/health"}, "used by the kit"),
        (("*",), nothing, {"path": "/openapi.json"}, "used by the kit"),
        (("*",), nothing, {"restrict_to": ""}, "restrict_to is"),
        (("*",), nothing, {"restrict_to": None}, "restrict_to is"),
        (("*",), two, {}, "one argument"),
        (("*",), waits, {}, "async"),
        (("*",), functools.partial(waits), {}, "async"),
        (("*",), functools.partial(functools.partial(waits), more=1), {}, "async"),
        (("*",), twice, {}, "leave yield out"),
        (("*",), endless, {}, "leave yield out"),
        (("*",), functools.partial(twice), {}, "leave yield out"),
        ((["a", "b"],), nothing, {}, r"one after the other: write listen_to\('a', 'b'\)"),
        (("*",), nothing, {"name": ""}, "a listener's name is like 'page-oncall'"),
        (("*",), nothing, {"name": "two words"}, "a listener's name is like"),
        (("*",), nothing, {"name": 5}, "a listener's name is like"),
        (("*",), nothing, {"immediate": "yes"}, "immediate is True or False, not 'yes'"),
        (
            ("*",),
            nothing,
            {"timeout": "10s"},
            "a positive number of seconds, up to 30 days, such as timeout=10, not '10s'",
        ),
        (("*",), nothing, {"timeout": timedelta(seconds=10)}, "such as timeout=10, not datetime.timedelta"),
        (("*",), nothing, {"timeout": True}, "such as timeout=10, not True"),
        (("*",), nothing, {"timeout": float("nan")}, "such as timeout=10, not nan"),
        (("*",), nothing, {"timeout": 0}, "such as timeout=10, not 0"),
        (("*",), nothing, {"timeout": 31 * 86400}, "such as timeout=10, not 2678400"),
        (("*",), nothing, {"retry": 5}, r"such as retry=\[5, 300\] for two attempts more, not 5"),
        (("*",), nothing, {"retry": "5"}, r"such as retry=\[5, 300\]"),
        (("*",), nothing, {"retry": {5: 1}}, r"such as retry=\[5, 300\]"),
        (("*",), nothing, {"retry": ["5"]}, "a wait is a number of seconds"),
        (("*",), nothing, {"retry": [True]}, "a wait is a number of seconds"),
        (("*",), nothing, {"retry": [5], "immediate": True}, "leave retry and timeout out"),
        (("*",), lambda event: None, {}, "gives no path"),
        (("*",), functools.partial(nothing), {}, None),
        (("*",), "text", {}, "not a function"),
        (("*",), InClass.method, {}, "stands in a class"),
        (("*",), InClass.static, {}, "stands in a class"),
        (("*",), staticmethod(nothing), {}, "stands in a class"),
    ],
)
def test_what_cannot_work_is_refused_at_import(extension, names, function, options, message):
    if message is None:
        extension.listen_to(*names, **options)(function)
        assert listeners(extension)[0]["path"] == "/events/partial"
        return
    with pytest.raises(RegistrationError, match=message):
        extension.listen_to(*names, **options)(function)
    assert extension.listeners == []


def test_a_bound_method_can_be_registered(extension):
    seen = []

    class Pager:
        def page(self, event):
            seen.append((self, event))

    pager = Pager()
    extension.listen_to("*")(pager.page)
    event = Event.from_body({"id": "1", "eventName": "a"})
    extension.listeners[0].call(event)
    assert seen == [(pager, event)]


def test_a_function_may_take_no_event_or_have_defaults(extension):
    seen = []

    @extension.listen_to("*", path="/a")
    def without():
        seen.append("without")

    @extension.listen_to("*", path="/b")
    def with_default(event, more=1):
        seen.append(event)

    event = Event.from_body({"id": "1", "eventName": "a"})
    for listener in extension.listeners:
        listener.call(event)
    assert seen == ["without", event]


def test_forgotten_parentheses_are_explained(extension):
    with pytest.raises(RegistrationError, match="names of events"):

        @extension.listen_to
        def page(event):
            pass


def test_one_function_twice_on_a_path_is_refused(extension):
    extension.listen_to("killswitch.engaged")(nothing)
    with pytest.raises(RegistrationError, match="give all event names to one listen_to"):
        extension.listen_to("killswitch.disengaged")(nothing)
    extension.listen_to("killswitch.disengaged", path="/events/elsewhere")(nothing)


def two_pages():
    """Two functions that are called the same, as in one file."""

    def page(event):
        """Page about failures."""

    failed = page

    def page(event):
        """Page about successes."""

    return failed, page


class Pager:
    def page(self, event):
        pass


ALIKE = {
    "two functions of one name": (two_pages(), "page"),
    "closures from a loop": ([two_pages()[0] for _ in range(2)], "page"),
    "methods of two objects": ((Pager().page, Pager().page), "page"),
    "lambdas": ([lambda event: None for _ in range(2)], "<lambda>"),
    "partials": ([functools.partial(nothing) for _ in range(2)], "partial"),
}


class TestFunctionsThatLookAlike:
    """Deliveries are kept by name, so that a name stands for one function."""

    @pytest.mark.parametrize(("functions", "name"), ALIKE.values(), ids=ALIKE)
    def test_they_are_refused_with_the_line_to_write_instead(self, extension, functions, name):
        first, second = functions
        extension.listen_to("experiment.execution.failed", path="/events/x")(first)
        with pytest.raises(RegistrationError) as caught:
            extension.listen_to("experiment.execution.completed", path="/events/x")(second)
        assert str(caught.value).startswith(f"{name} is registered twice at /events/x: ")
        line = str(caught.value).rpartition(": ")[2].removeprefix("@")
        eval(line, {"extension": extension})(second)
        names = [listener.name for listener in extension.listeners]
        assert names == [name, f"{name.strip('<>')}-completed"]
        assert len({listener.key for listener in extension.listeners}) == 2

    def test_a_path_is_written_where_it_is_not_that_of_the_name(self, extension):
        first, second = two_pages()
        extension.listen_to("user.invited")(first)
        with pytest.raises(RegistrationError, match=r"listen_to\('killswitch.\*', 'a.b', name='page-2'\)$"):
            extension.listen_to("killswitch.*", "a.b")(second)
        extension.listen_to("killswitch.*", "a.b", name="page-2")(second)
        assert [entry["path"] for entry in listeners(extension)] == ["/events/page", "/events/page-2"]

    def test_in_two_extensions_they_are_two(self):
        one, other = Extension("one"), Extension("other")
        for each, function in zip((one, other), two_pages(), strict=True):
            each.listen_to("killswitch.engaged")(function)
        merged = Registry.merged([one.registry, other.registry])
        assert [listener.key for listener in merged.listeners] == ["one.page@/events/page", "other.page@/events/page"]

    def test_extensions_whose_names_run_together_are_refused(self):
        one, other = Extension("a"), Extension("a.b")
        one.listen_to("killswitch.engaged", path="/events", name="b.c")(nothing)
        other.listen_to("killswitch.engaged", path="/events", name="c")(nothing)
        with pytest.raises(RegistrationError, match="registered twice at /events"):
            Registry.merged([one.registry, other.registry])


SHOW_KEYS = """
import sys
from extension_kit.loading import load_extensions
print(*(listener.key for extension in load_extensions(sys.argv[1:]) for listener in extension.listeners))
"""


def test_a_key_does_not_depend_on_how_the_file_was_named(tmp_path):
    folder = tmp_path / "company"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "oncall.py").write_text(
        "from extension_kit import Extension\nextension = Extension('extension-oncall')\n"
        "@extension.listen_to('*')\ndef page(event): ...\n"
    )
    (tmp_path / "current.py").symlink_to(folder / "oncall.py")
    targets = ["oncall.py", "./oncall.py", str(folder / "oncall.py"), "../current.py", "oncall", "company.oncall"]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SHOW_KEYS, target],
            cwd=tmp_path if "company." in target else folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        for target in targets
    ]
    shown = [process.communicate(timeout=60)[0] for process in started]
    assert dict(zip(targets, shown, strict=True)) == dict.fromkeys(targets, "extension-oncall.page@/events/page\n")


class Waiting:
    """An awaitable that is no coroutine."""

    def __await__(self):
        return iter(())


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda event: waits(event), "<lambda> returned an awaitable \\(coroutine\\), which is never awaited"),
        (lambda: waits(None), "<lambda> returned an awaitable \\(coroutine\\), which is never awaited"),
        (
            functools.wraps(waits)(lambda event: waits(event)),
            "waits returned an awaitable \\(coroutine\\), which is never awaited",
        ),
        (lambda event: Waiting(), "<lambda> returned an awaitable \\(Waiting\\), which is never awaited"),
        (lambda event: twice(event), "<lambda> returned an iterator \\(generator\\), which is never consumed"),
        (
            lambda event: endless(event),
            "<lambda> returned an iterator \\(async_generator\\), which is never consumed",
        ),
        (lambda event: map(print, [event]), "<lambda> returned an iterator \\(map\\), which is never consumed"),
    ],
)
def test_work_that_nobody_does_is_a_failure(extension, function, text):
    extension.listen_to("*", path="/events/x")(function)
    with pytest.raises(TypeError, match=text):
        extension.listeners[0].call(Event.from_body({"id": "1", "eventName": "a"}))
    gc.collect()  # a coroutine that was left open is a warning now, and so an error


@pytest.mark.parametrize("result", [None, 5, "text", [1], {}, iter([1]), object()])
def test_other_results_do_not_matter(extension, result):
    extension.listen_to("*", path="/events/x")(lambda event: result)
    extension.listeners[0].call(Event.from_body({"id": "1", "eventName": "a"}))


def test_one_path_with_two_restrictions_is_refused(extension):
    extension.listen_to("killswitch.engaged", path="/events")(nothing)
    with pytest.raises(RegistrationError, match="other and nothing share /events"):

        @extension.listen_to("killswitch.disengaged", path="/events", restrict_to="any")
        def other(event):
            pass

    assert len(extension.listeners) == 1


def test_other_keys_are_merged_in(extension):
    extension.listen_to("*")(nothing)
    extension.extend_index({"actions": [{"method": "GET", "path": "/a"}]})
    extension.extend_index(lambda: {"discoveries": None})
    document = extension.registry.document()
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
        extension.registry.document()


@pytest.mark.parametrize("provider", [5, waits, twice, functools.partial(waits)])
def test_what_cannot_give_keys_is_refused_at_import(extension, provider):
    with pytest.raises(RegistrationError, match="a mapping, or a plain function that returns one"):
        extension.extend_index(provider)


@pytest.mark.parametrize("key", ["eventListeners", "actions"])
def test_a_key_given_twice_is_refused(extension, key):
    extension.extend_index({"actions": []})
    extension.extend_index({key: []})
    with pytest.raises(RegistrationError, match=f"{key} is given twice"):
        extension.registry.document()


def test_event_listeners_are_a_list_even_without_any():
    assert Registry().document() == {"eventListeners": []}


def test_the_tag_follows_the_content_and_nothing_else():
    def build(*names):
        extension = Extension("x")
        for name in names:
            extension.listen_to(name, path=f"/events/{name}")(nothing)
        return extension.registry.serialized()

    assert build("a", "b") == build("b", "a")
    assert build("a", "b")[1] != build("a", "c")[1]
    body, etag = build("a")
    assert body.endswith(b"}\n")
    assert orjson.loads(body)["eventListeners"][0]["listenTo"] == ["a"]
    assert etag.startswith('"')
    assert etag.endswith('"')


def test_typos_are_noticed(extension):
    extension.listen_to("experiment.execution.complete", "experiment.exec.*", "killswitch.*", "*")(nothing)
    first, second = extension.registry.doubts()
    assert "did you mean experiment.execution.completed?" in first
    assert "experiment.exec.*" in second


def test_registries_are_merged_and_checked_against_each_other():
    one, other, third = Extension("one"), Extension("other"), Extension("third")
    one.listen_to("killswitch.engaged", path="/events")(nothing)
    other.listen_to("killswitch.disengaged", path="/events")(lambda: None)
    third.listen_to("*", path="/events", restrict_to="any")(lambda: None)
    merged = Registry.merged([one.registry, other.registry])
    assert merged.event_listeners()[0]["listenTo"] == ["killswitch.engaged", "killswitch.disengaged"]
    assert len(one.listeners) == 1
    with pytest.raises(RegistrationError, match="share /events"):
        Registry.merged([one.registry, third.registry])


@pytest.mark.parametrize("name", ["", "  ", None, 5])
def test_an_extension_needs_a_name(name):
    with pytest.raises(RegistrationError, match="needs a name"):
        Extension(name)


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
        assert extension.listeners[0].names == tuple(names)

    def test_an_extension_listens_to_what_another_one_publishes(self):
        mine = Extension("extension-mine")
        mine.listen_to("croneye.job.error")(nothing)
        assert listeners(mine)[0]["listenTo"] == ["croneye.job.error"]
        for registries in ([mine, speaking("croneye.*")], [speaking("croneye.*"), mine]):
            merged = Registry.merged(extension.registry for extension in registries)
            assert merged.event_listeners() == []
            assert merged.doubts() == []

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
        found = extension.registry.doubts()
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
        assert (extension.protocols, extension.registry.foreign) == ([], [])


class TestSubscriptions:
    def registry(self, wanted):
        extension = Extension("extension-test")
        extension.listen_to("user.invited", path="/events/a")(nothing)
        extension.registry.ask_for_subscriptions(lambda: wanted)
        return extension.registry

    def test_agents_are_asked_for_what_subscriptions_want(self):
        assert self.registry(["killswitch.engaged", "team.created"]).event_listeners() == [
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
        assert [entry["path"] for entry in registry.event_listeners()] == ["/events/a"]
        assert registry.routes[SUBSCRIPTIONS_PATH].for_subscriptions
        assert not registry.routes["/events/a"].for_subscriptions

    def test_the_tag_follows_what_they_want(self):
        wanted = []
        registry = self.registry(wanted)
        tags = [registry.serialized()[1]]
        for change in (wanted.append, wanted.append, wanted.remove):
            change("killswitch.engaged")
            tags.append(registry.serialized()[1])
        assert tags[0] != tags[1] == tags[3] != tags[2]
        assert self.registry(["killswitch.engaged"]).serialized()[1] == tags[1]

    def test_a_listener_that_has_their_path_is_refused(self):
        extension = Extension("extension-test")
        extension.listen_to("*")(subscriptions)
        with pytest.raises(RegistrationError, match=f"subscriptions: {SUBSCRIPTIONS_PATH} is used by the kit itself"):
            extension.registry.ask_for_subscriptions(list)
        assert extension.registry.event_listeners()[0]["listenTo"] == ["*"]


def subscriptions():
    pass


def test_the_names_of_the_release_before_still_work_and_warn():
    extension = Extension("extension-test")
    with pytest.warns(DeprecationWarning, match=r"extension\.extend_index"):
        extension.index({"actions": []})
    with pytest.warns(DeprecationWarning, match=r"extension\.add_protocol"):
        extension.speak(EventProtocol("croneye", object, None, names=("croneye.*",)))
    assert len(extension.registry.providers) == len(extension.protocols) == 1
