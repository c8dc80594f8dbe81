"""Events of other systems, as an extension publishes them and functions get them."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from extension_kit import Event
from extension_kit.events.published import PublishedEvent

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
LEAST = {"source": "echo", "id": "7", "name": "echo.said"}


def deep(levels):
    data = None
    for _ in range(levels):
        data = [data]
    return data


def test_it_is_an_event_with_what_all_have_in_common():
    event = PublishedEvent.of(**LEAST, data={"said": "hi"}, time=NOON, subject="a/1", series="echo/a", scope="anna")
    assert isinstance(event, Event)
    assert (event.source, event.id, event.name, event.time) == ("echo", "7", "echo.said", NOON)
    assert (event.subject, event.series, event.scope) == ("a/1", "echo/a", "anna")
    assert (event.data, event.raw, event.body) == ({"said": "hi"}, {"said": "hi"}, b'{"said":"hi"}')


def test_most_of_it_may_be_left_out():
    event = PublishedEvent.of(**LEAST)
    assert (event.time, event.subject, event.series, event.scope, event.data) == (None,) * 5
    assert (event.body, event.remaining_time) == (b"null", None)


@pytest.mark.parametrize(
    "name",
    [
        "tenant",
        "team",
        "environment",
        "principal",
        "experiment_execution",
        "experiment_step_execution",
        "experiment_step_target_execution",
        "step",
    ],
)
def test_what_the_data_calls_like_an_object_of_steadybit_is_none(name):
    keys = ("tenant", "team", "environment", "principal", "experimentExecution", "experimentStepExecution")
    data = {key: {"key": "k", "name": "n", "id": "1"} for key in (*keys, "experimentStepTargetExecution", "id")}
    event = PublishedEvent.of(**LEAST, data=data)
    assert getattr(event, name) is None
    assert (event.id, event.series) == ("7", None)


@pytest.mark.parametrize("there", [UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-3.5))])
def test_its_time_is_the_same_in_every_zone(there):
    event = PublishedEvent.of(**LEAST, time=NOON.astimezone(there))
    assert event.time == NOON
    assert event.time.utcoffset() == timedelta(0)


@pytest.mark.parametrize("data", [None, 0, "", "ä\x00", [1, {"a": [None, 1.5, True]}], {"deep": deep(200)}])
def test_any_json_data_comes_back_as_it_was(data):
    sent = PublishedEvent.of(**LEAST, data=data)
    assert sent.data == PublishedEvent.of(**LEAST, body=sent.body).data == data


def test_a_body_stays_byte_for_byte_and_is_read_only_when_somebody_looks():
    body = b' {"said" : "hi"}\n'
    assert PublishedEvent.of(**LEAST, body=body).body == body
    assert PublishedEvent.of(**LEAST, body=body).data == {"said": "hi"}
    broken = PublishedEvent.of(**LEAST, body=b"{")
    assert broken.name == "echo.said"
    with pytest.raises(ValueError, match="line 1"):
        _ = broken.data


def test_the_data_is_decoded_once_and_raw_each_time():
    event = PublishedEvent.of(**LEAST, data={"list": []})
    event.raw["list"].append(1)
    assert event.raw == event.data == {"list": []}
    assert event.data is event.data
    assert event.raw is not event.raw


@pytest.mark.parametrize("data", [{1, 2}, 2**64, "\ud800", deep(300), {"a": object()}])
def test_what_is_no_json_is_refused_where_it_is_made(data):
    with pytest.raises(TypeError):
        PublishedEvent.of(**LEAST, data=data)


@pytest.mark.parametrize("name", ["name", "data", "scope", "other"])
def test_it_cannot_be_changed(name):
    with pytest.raises(AttributeError):
        setattr(PublishedEvent.of(**LEAST), name, "x")


def test_it_knows_how_much_time_is_left():
    event = PublishedEvent.of(**LEAST, deadline=time.monotonic() + 100)
    assert 50 < event.remaining_time <= 100
    assert PublishedEvent.of(**LEAST, deadline=time.monotonic() - 1).remaining_time == 0


def test_an_extension_has_a_view_of_its_own():
    class Said(PublishedEvent):
        __slots__ = ()

        @property
        def words(self):
            return self.data["said"].split()

    event = Said.of(**LEAST, data={"said": "good morning"})
    assert (type(event), event.words) == (Said, ["good", "morning"])
