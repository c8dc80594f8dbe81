"""Process hooks: called once, in their order, and never waited for without an end."""

import logging
import threading
import time

import pytest

from extension_kit import Extension
from extension_kit.runtime import process_hooks
from extension_kit.runtime.process_hooks import ProcessHooks, StartFailed


@pytest.fixture
def extension():
    return Extension("extension-oncall")


@pytest.fixture
def calls():
    return []


@pytest.fixture
def hang():
    go_on = threading.Event()
    yield lambda: go_on.wait(60)
    go_on.set()


def hooks_of(*extensions):
    return ProcessHooks([hook for extension in extensions for hook in extension.registry.hooks])


def noted(calls, name, error=None):
    def function():
        calls.append(name)
        if error is not None:
            raise error

    return function


def test_in_order_and_backwards_and_once(extension, calls):
    for name in "ab":
        extension.on_start(noted(calls, f"start {name}"))
        extension.on_stop(noted(calls, f"stop {name}"))
    hooks = hooks_of(extension)
    for _ in range(2):
        hooks.start(["extension-oncall"])
    for _ in range(2):
        hooks.stop(5)
    assert calls == ["start a", "start b", "stop b", "stop a"]


def test_a_failure_is_logged_in_one_line_and_the_next_start_goes_on_with_it(extension, calls, caplog):
    extension.on_start(noted(calls, "a"))
    errors = [ConnectionError("no route to postgresql://anna:geheim@db/"), None]

    @extension.on_start
    def connect():
        calls.append("b")
        if error := errors.pop(0):
            raise error

    hooks = hooks_of(extension)
    with pytest.raises(StartFailed, match="extension-oncall: on_start connect raised ConnectionError: no route"):
        hooks.start(["extension-oncall"])
    assert not hooks.has_started.is_set()
    assert len(caplog.records) == 1
    assert "geheim" not in caplog.text
    hooks.start(["extension-oncall"])
    assert hooks.has_started.is_set()
    assert hooks.failure is None
    assert calls == ["a", "b", "b"]


def test_only_extensions_that_are_asked_for(extension, calls):
    other = Extension("extension-other")
    for each in (extension, other):
        each.on_start(noted(calls, f"start {each.name}"))
        each.on_stop(noted(calls, f"stop {each.name}"))
    hooks = hooks_of(extension, other)
    hooks.start(["extension-other"])
    hooks.stop(5)
    assert calls == ["start extension-other", "stop extension-other"]


def test_a_start_that_hangs_fails(extension, hang, monkeypatch):
    monkeypatch.setattr(process_hooks, "START_TIMEOUT", 0.1)
    extension.on_start(hang)
    with pytest.raises(StartFailed, match=r"did not return within 0\.1 s"):
        hooks_of(extension).start(["extension-oncall"])


def test_a_start_that_takes_long_is_not_called_again_meanwhile(extension, calls, monkeypatch):
    monkeypatch.setattr(process_hooks, "START_TIMEOUT", 0.1)
    go_on = threading.Event()

    @extension.on_start
    def connect():
        calls.append("connect")
        assert go_on.wait(60)

    hooks = hooks_of(extension)
    for _ in range(2):
        with pytest.raises(StartFailed, match=r"did not return within 0\.1 s"):
            hooks.start(["extension-oncall"])
    monkeypatch.setattr(process_hooks, "START_TIMEOUT", 60)
    go_on.set()
    assert hooks.start(["extension-oncall"])
    assert calls == ["connect"]


def test_a_start_that_is_not_wanted_any_more_is_not_waited_for(extension, hang):
    extension.on_start(hang)
    assert not hooks_of(extension).start(["extension-oncall"], lambda: False)


def test_stops_that_fail_or_hang_are_logged_and_the_others_are_called(extension, calls, hang, caplog):
    caplog.set_level(logging.WARNING)
    extension.on_stop(noted(calls, "last"))
    extension.on_stop(hang)
    extension.on_stop(noted(calls, "first", ValueError("no goodbye")))
    hooks = hooks_of(extension)
    hooks.start(["extension-oncall"])
    began = time.monotonic()
    hooks.stop(0.5)
    assert time.monotonic() - began < 30
    assert calls[0] == "first"
    assert "raised ValueError: no goodbye" in caplog.text
    assert "is left behind" in caplog.text
