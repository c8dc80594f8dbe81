"""The short way of loading events gives what marshmallow gives, for good bodies and for bad ones."""

import pytest
from marshmallow import ValidationError

from extension_kit.protocol import CamelCase
from extensions.tapis.schemas import Event

BODY = {"source": "s", "type": "jobs.a.b", "timestamp": "t"}
VALUES = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    1.5,
    "",
    " ",
    "\x1c",
    "\u2003",
    "a",
    "a\x00b",
    " a ",
    "5",
    "true",
    "x" * 129,
    "jobs.a.b",
    "jobs.*.b",
    "jobs.a.b\n",
    "Jobs.a.b",
    "a.b.c",
    "\xe4.b.c",
    [],
    ["a"],
    {},
    {"a": "b"},
]
KEYS = [field.data_key for field in Event().load_fields.values()]


def by_marshmallow(body):
    return CamelCase.load(Event(), body)


def outcome(load, body):
    try:
        loaded = load(body)
    except ValidationError as error:
        return error.normalized_messages()
    return [(name, type(value), value) for name, value in loaded.items()]


@pytest.mark.parametrize("key", [*KEYS, "more", "series_id"])
def test_each_attribute(key):
    for value in VALUES:
        body = {**BODY, key: value}
        assert outcome(Event().load, body) == outcome(by_marshmallow, body), value


@pytest.mark.parametrize("missing", [*BODY, None])
def test_without_an_attribute(missing):
    body = {key: value for key, value in BODY.items() if key != missing}
    assert outcome(Event().load, body) == outcome(by_marshmallow, body)


def test_all_attributes():
    body = dict.fromkeys(KEYS, "text") | BODY
    body |= {"endSeries": True, "deleteSubscriptionsMatchingSubject": False, "seriesSeqCount": 3}
    assert outcome(Event().load, body) == outcome(by_marshmallow, body)
    del body["seriesSeqCount"]
    assert outcome(Event().load, body) == outcome(by_marshmallow, body)


@pytest.mark.parametrize("body", [None, [], "a", 1, [BODY]])
def test_what_is_no_object(body):
    assert outcome(Event().load, body) == outcome(by_marshmallow, body)


def test_options_of_marshmallow():
    assert Event().load([BODY, BODY], many=True) == [by_marshmallow(BODY)] * 2
    assert Event().load({"source": "s"}, partial=True)["source"] == "s"
    with pytest.raises(ValidationError):
        Event().load({**BODY, "more": 1}, unknown="raise")
    assert len(Event(many=True).load([BODY])) == 1
    assert Event(partial=True).load({}) == CamelCase.load(Event(partial=True), {})
    for options in ({"many": True}, {"unknown": "raise"}):
        with pytest.raises(ValidationError):
            Event(**options).load({**BODY, "more": 1})
