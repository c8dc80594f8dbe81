"""CloudEvents in messages of NATS, and messages that are none."""

import base64
import json

import pytest

from extensions.jetstream.cloud_events import NotACloudEvent, read_cloud_event

ATTRIBUTES = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "com.example.order"}
HEADERS = {f"ce-{name}": value for name, value in ATTRIBUTES.items()}


def structured(**more):
    found = ATTRIBUTES | more
    return read_cloud_event("orders.eu", {}, json.dumps({k: v for k, v in found.items() if v is not None}).encode())


def binary(body=b"", **headers):
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_cloud_event("orders.eu", HEADERS | more, body)


def test_a_structured_event_keeps_its_bytes():
    body = b'{"specversion":"1.0", "id":"7",  "source":"/shop","type":"a.b","data":{"total":5.50}}'
    event = read_cloud_event("orders.eu", {"content-TYPE": "Application/CloudEvents+JSON"}, body)
    assert event.body == body
    assert (event.source, event.id, event.name) == ("jetstream", "/shop 7", "jetstream.a.b")
    assert (event.subject, event.series, event.time) == ("orders.eu", "jetstream:orders.eu", None)
    assert event.payload == {"total": 5.5}
    assert event.attributes == {"specversion": "1.0", "id": "7", "source": "/shop", "type": "a.b"}


def test_the_attributes_of_the_event_go_before_those_of_the_message():
    event = structured(subject="order/7", partitionkey="customer-1", time="2026-03-02T09:00:00+01:00")
    assert (event.subject, event.series) == ("order/7", "jetstream:customer-1")
    assert event.time.isoformat() == "2026-03-02T08:00:00+00:00"
    assert structured(subject="", partitionkey="", time="soon").series == "jetstream:orders.eu"


@pytest.mark.parametrize(
    ("body", "content_type", "payload"),
    [
        (b'{"a": 1}', "application/json; charset=utf-8", {"a": 1}),
        (b'{"a": 1}', "application/vnd.example+json", {"a": 1}),
        (b'{"a": 1}', "", {"a": 1}),
        (b"a text", "text/plain", "a text"),
        (b"\xff\x00", "image/png", b"\xff\x00"),
        (b"\xff", "text/plain", b"\xff"),  # not what its type says
        (b"{", "application/json", b"{"),
        (b"", "application/json", None),
    ],
)
def test_the_data_of_a_binary_event(body, content_type, payload):
    event = binary(body, **{"Content-Type": content_type} if content_type else {})
    assert event.payload == payload
    assert event.attributes.get("datacontenttype") == (content_type or None)
    again = read_cloud_event("orders.eu", {}, event.body)  # in the JSON format
    assert (again.payload, again.attributes) == (payload, event.attributes)


def test_the_type_of_the_data_in_its_own_header():
    assert binary(b"1", ce_datacontenttype="text/plain").payload == "1"


def test_headers_are_found_in_any_case():
    event = read_cloud_event("a", {name.upper(): value for name, value in HEADERS.items()}, b"")
    assert event.attributes == ATTRIBUTES


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac%41", "€A"),
        ('"a \\"quoted\\" text"', 'a "quoted" text'),
        ("  blanks around  ", "blanks around"),
        ("100%25", "100%"),
        (b"Z\xc3\xbcrich".decode("ascii", "surrogateescape"), "Zürich"),  # as nats-py gives bytes beyond ASCII
    ],
)
def test_values_of_headers_are_decoded(header, value):
    assert binary(ce_subject=header).subject == value


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{}", "no specversion"),
    ],
)
def test_other_texts_are_none(body, reason):
    with pytest.raises(NotACloudEvent, match=reason):
        read_cloud_event("a", {}, body)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *[({name: value}, f"no {name}") for name in ATTRIBUTES for value in (None, "", 7)],
        ({"specversion": "0.3"}, "specversion"),
        ({"id": "a\x00b"}, "control characters"),
        ({"type": "a\nb"}, "control characters"),
        ({"source": "two words"}, "URI reference"),
        ({"subject": 7}, "subject"),
        ({"data_base64": "?"}, "base64"),
        ({"data_base64": 7}, "base64"),
    ],
)
def test_attributes_that_are_wrong_are_named(changes, reason):
    with pytest.raises(NotACloudEvent, match=reason) as raised:
        structured(**changes)
    assert str(raised.value).isascii()


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"ce_subject": "%C0%A0"}, "percent-encoded"),
        ({"ce_subject": "\udcff"}, "percent-encoded"),
        ({"ce_a_b": "x"}, "name of an attribute"),
        ({"ce_id": ""}, "no id"),
        ({"Content_Type": "application/cloudevents-batch+json"}, "batch"),
        ({"Content_Type": "application/cloudevents+json"}, "not JSON"),
    ],
)
def test_headers_that_are_wrong_are_named(headers, reason):
    with pytest.raises(NotACloudEvent, match=reason):
        binary(b"x", **headers)


def test_bytes_of_a_structured_event():
    event = structured(data_base64=base64.b64encode(b"\x00\xff").decode())
    assert event.payload == b"\x00\xff"
    assert structured().payload is None
