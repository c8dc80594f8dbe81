"""Hooks: which functions may be one, and what calling them returns."""

import functools

import pytest

from extension_kit import Extension, NotReady, RegistrationError


@pytest.fixture
def extension():
    return Extension("extension-oncall")


def takes_event(event): ...


def generates():
    yield


async def generates_asynchronously():
    yield


class Client:
    def connect(self): ...

    @staticmethod
    def close(): ...


@pytest.mark.parametrize("kind", ["on_start", "on_stop", "is_ready"])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (takes_event, "takes_event must take no arguments"),
        (generates, "generates is a generator"),
        (generates_asynchronously, "is a generator"),
        (Client.connect, "stands in a class"),
        (Client.__dict__["close"], "stands in a class"),
        ("connect", "takes a function"),
    ],
)
def test_what_cannot_be_called_is_refused(extension, kind, function, message):
    with pytest.raises(RegistrationError, match=message):
        getattr(extension, kind)(function)
    assert extension.registry.hooks == []


def test_functions_are_returned_unchanged_and_called_whether_plain_or_async(extension):
    async def answer():
        return "no connection"

    assert extension.is_ready(answer) is answer
    extension.on_start(Client().connect)
    extension.on_stop(functools.partial(takes_event, None))
    assert [hook.call() for hook in extension.registry.hooks] == ["no connection", None, None]


def test_a_second_question_is_refused(extension):
    extension.is_ready(lambda: None)
    with pytest.raises(RegistrationError, match="two functions for is_ready"):
        extension.is_ready(lambda: None)


@pytest.mark.parametrize("seconds", ["60", None, True, float("nan")])
def test_a_wait_that_is_no_number_is_refused(seconds):
    with pytest.raises(TypeError, match="NotReady takes a number of seconds"):
        NotReady("no connection", retry_in=seconds)


def test_a_reason_is_told():
    assert str(NotReady("no connection")) == "no connection"
    assert NotReady().retry_in == 30
    assert "without a reason" in str(NotReady())
