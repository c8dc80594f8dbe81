"""The bodies: what is taken and what is not, by the schemas and by the published document alike."""

import jsonschema_rs
import pytest
from marshmallow import ValidationError

from extensions.tapis.document import build_document
from extensions.tapis.schemas import (
    Different,
    Event,
    EventSeries,
    Notification,
    ReqPatchSubscription,
    ReqPostSubscription,
    ReqSearchSubscriptions,
    describe,
)
from tests.extensions.tapis.api import EMAIL, WEBHOOK

EVENT = {"source": "jobs", "type": "jobs.new_status.done", "timestamp": "now"}
SERIES = {"source": "jobs", "subject": "a", "seriesId": "b"}
SUBSCRIPTION = {"typeFilter": "jobs.*.*", "subjectFilter": "*", "deliveryTargets": [WEBHOOK]}
TEST = {
    "uuid": "u",
    "tenant": "dev",
    "subscriptionName": "n",
    "deliveryTarget": WEBHOOK,
    "event": {"a": 1},
    "eventUuid": "e",
    "created": "now",
}
SEARCH = {"search": ["name = 'a'"]}
NUL = "a\x00b"

BASES = {
    Event: EVENT,
    EventSeries: SERIES,
    ReqPostSubscription: SUBSCRIPTION,
    ReqPatchSubscription: {},
    Notification: TEST,
    ReqSearchSubscriptions: SEARCH,
}


@pytest.fixture(scope="session")
def validate():
    """Validate a body by the component of a schema in the document."""
    schemas = build_document()["components"]

    def validate(schema, body):
        reference = {"$ref": f"#/components/schemas/{schema.__name__}", "components": schemas}
        return jsonschema_rs.is_valid(reference, body)

    return validate


def subscription(**changes):
    return {**SUBSCRIPTION, **changes}


TAKEN = [
    (Event, EVENT),
    *((Event, {**EVENT, "type": each}) for each in ("a.b.c", "jobs.JOB_NEW_STATUS.A-b_c~1", "a." + "b" * 124 + ".c")),
    (Event, {**EVENT, "subject": None, "data": None, "seriesId": None}),
    (Event, {**EVENT, "subject": "", "data": "{}", "seriesId": " "}),
    (Event, {**EVENT, "endSeries": True, "deleteSubscriptionsMatchingSubject": False}),
    (Event, {**EVENT, "tenant": "x", "user": "y", "uuid": "z", "received": "r", "seriesSeqCount": 7, "another": {}}),
    (Event, {**EVENT, "subject": "x" * 100_000}),
    (EventSeries, SERIES),
    (EventSeries, {**SERIES, "another": 1}),
    (ReqPostSubscription, SUBSCRIPTION),
    *(
        (ReqPostSubscription, subscription(**changes))
        for changes in (
            {"name": None, "description": None},
            {"name": ""},
            {"name": "a-b.c_d~e9"},
            {"name": "9" * 188},
            {"description": "d" * 2048},
            {"owner": "o" * 60},
            {"enabled": False, "ttlMinutes": -1},
            {"typeFilter": "jobs.job.complete"},
            {"typeFilter": "jobs.*.a~b"},
            {"typeFilter": "a.b.*"},
            {"subjectFilter": "/a/b c"},
            {"subjectFilter": "s" * 150},
            {"deliveryTargets": [WEBHOOK, EMAIL, {**WEBHOOK, "deliveryAddress": "https://other.example.com"}]},
            {"deliveryTargets": [{**WEBHOOK, "domain": None}]},
            {"deliveryTargets": [{**WEBHOOK, "domain": "example.com"}]},
        )
    ),
    (ReqPatchSubscription, {}),
    (ReqPatchSubscription, {"description": None}),
    (ReqPatchSubscription, {"description": "d", **SUBSCRIPTION}),
    (Notification, TEST),
    (Notification, {**TEST, "another": 1}),
    (ReqSearchSubscriptions, SEARCH),
]

REFUSED = [
    *((Event, {**EVENT, key: value}) for key in EVENT for value in (None, 7, "", " ", ["a"])),
    *((Event, {key: value for key, value in EVENT.items() if key != missing}) for missing in EVENT),
    *(
        (Event, {**EVENT, "type": each})
        for each in (
            "jobs.job",
            "jobs.job.a.b",
            "Jobs.job.a",
            "jobs.*.a",
            "jobs.job.*",
            "jobs.1a.b",
            "jobs._a.b",
            "jobs.a b.c",
            "jobs.job.a\n",
            "\njobs.job.a",
            "j2.job.a",
            ".a.b",
            "a..b",
            "a.b.",
            "ä.b.c",
            "a.ö.c",
            "jobs.a.b" + "c" * 121,
        )
    ),
    *((Event, {**EVENT, key: 7}) for key in ("subject", "data", "seriesId", "tenant", "user", "uuid", "received")),
    (Event, {**EVENT, "data": {"a": 1}}),
    (Event, {**EVENT, "seriesSeqCount": "7"}),
    (Event, {**EVENT, "seriesSeqCount": True}),
    *(
        (Event, {**EVENT, key: value})
        for key in ("endSeries", "deleteSubscriptionsMatchingSubject")
        for value in ("true", "yes", 1, 0, None)
    ),
    *((EventSeries, {**SERIES, key: value}) for key in SERIES for value in (None, "", 7)),
    *((EventSeries, {key: value for key, value in SERIES.items() if key != missing}) for missing in SERIES),
    *(
        (ReqPostSubscription, {key: value for key, value in SUBSCRIPTION.items() if key != missing})
        for missing in SUBSCRIPTION
    ),
    *(
        (ReqPostSubscription, subscription(**changes))
        for changes in (
            {"another": 1},
            {"uuid": "u"},
            *({"name": name} for name in ("-a", ".a", "a b", "a/b", "a\n", "9" * 189, 7, "ä", " ")),
            *({"description": text} for text in ("d" * 2049, 7, NUL)),
            *({"owner": owner} for owner in ("", " ", "o" * 61, None, 7, NUL)),
            *({"enabled": value} for value in ("true", 1, None)),
            *({"ttlMinutes": value} for value in ("60", 1.5, None, True, 10**12, -(10**12))),
            *(
                {"typeFilter": each}
                for each in ("jobs", "jobs.job", "*.a.b", "jobs.a*.b", "jobs.**.a", "a.b.c.d", "*", None)
            ),
            *({"subjectFilter": each} for each in ("", "s" * 151, None, 7, NUL)),
            *({"deliveryTargets": each} for each in ([], None, WEBHOOK, [WEBHOOK, WEBHOOK], [None], [{}])),
            {"deliveryTargets": [{**WEBHOOK, "deliveryAddress": f"https://a.example.com/{n}"} for n in range(101)]},
            *({"deliveryTargets": [{**WEBHOOK, "deliveryMethod": each}]} for each in ("webhook", "SMS", None, 7)),
            *({"deliveryTargets": [{**WEBHOOK, "deliveryAddress": each}]} for each in ("ab", "", None, 7, NUL)),
            {"deliveryTargets": [{**WEBHOOK, "deliveryAddress": "https://a/" + "b" * 2000}]},
            {"deliveryTargets": [{**WEBHOOK, "another": 1}]},
            {"deliveryTargets": [{**WEBHOOK, "domain": 7}]},
        )
    ),
    *(
        (ReqPatchSubscription, {key: value})
        for key, value in {"name": "a", "owner": "a", "enabled": False, "ttlMinutes": 2000, "another": 1}.items()
    ),
    *((ReqPatchSubscription, {key: None}) for key in ("typeFilter", "subjectFilter", "deliveryTargets")),
    (ReqPatchSubscription, {"deliveryTargets": []}),
    *(
        (Notification, {key: value for key, value in TEST.items() if key != missing})
        for missing in TEST
        if missing != "eventUuid"
    ),
    (Notification, {**TEST, "event": "text"}),
    (Notification, {**TEST, "deliveryTarget": {}}),
    *(
        (ReqSearchSubscriptions, body)
        for body in ({}, {"search": []}, {"search": "a"}, {"search": [7]}, {**SEARCH, "a": 1})
    ),
]


@pytest.mark.parametrize(("schema", "body"), TAKEN)
def test_what_is_taken(validate, schema, body):
    schema().load(body)
    assert validate(schema, body)


@pytest.mark.parametrize(("schema", "body"), REFUSED)
def test_what_is_refused(validate, schema, body):
    with pytest.raises(ValidationError) as caught:
        schema().load(body)
    assert describe(caught.value.messages)
    assert not validate(schema, body)


@pytest.mark.parametrize("text", ["a" * 1_000_000 + "\x00", " " * 1_000_000], ids=["NUL at the end", "blank"])
def test_long_texts_are_read_only_once(text):
    """Read once for each of its characters, one that fits into a body would take longer than a test may."""
    with pytest.raises(ValidationError):
        Event().load({**EVENT, "source": text})


def test_many_targets_are_read_only_once():
    """Compared with each other, as many as fit into a body would take longer than a test may."""
    items = [{"delivery_method": "WEBHOOK", "delivery_address": f"https://a.example.com/{n}"} for n in range(80_000)]
    Different()(items)
    with pytest.raises(ValidationError):
        Different()([*items, items[0]])


def test_problems_name_their_place():
    with pytest.raises(ValidationError) as caught:
        ReqPostSubscription().load(subscription(enabled="yes", deliveryTargets=[{**WEBHOOK, "deliveryMethod": "SMS"}]))
    assert describe(caught.value.messages) == (
        "enabled: Not a valid boolean.; deliveryTargets.0.deliveryMethod: Must be one of: WEBHOOK, EMAIL."
    )
