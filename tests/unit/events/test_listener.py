"""What may be decorated, what becomes of it, and what a call of it does."""

import functools
import gc
import subprocess
import sys
from datetime import timedelta

import pytest

from extension_kit import Event, RegistrationError


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


def test_the_function_comes_back_unchanged(extension):
    def page(event):
        pass

    assert extension.listen_to("*")(page) is page


def test_the_path_is_made_of_the_name(extension):
    @extension.listen_to("user.invited")
    def _greet_new_user(event):
        pass

    assert extension.listeners[0].path == "/events/greet-new-user"


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
        assert extension.listeners[0].path == "/events/partial"
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
