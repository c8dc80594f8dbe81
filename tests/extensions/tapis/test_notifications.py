"""What receivers get for a delivery."""

import json
import uuid
from datetime import UTC, datetime

import pytest

from extension_kit.deliveries.handler import Due
from extension_kit.deliveries.subscriptions import Subscription
from extensions.tapis.notifications import delivery_format, notification
from extensions.tapis.settings import TapisSettings
from tests.support.tapis_tokens import SECRET

CREATED = datetime(2024, 6, 12, 14, 3, 21, 615954, tzinfo=UTC)
EVENT = {"source": "jobs", "type": "jobs.a.b", "subject": None, "data": "ä", "seriesSeqCount": 3}
OWN_UUID = "2f4c4b9e-6f3f-4a34-8a8b-111111111111"


def due(**changes):
    values = {
        "ref": 7,
        "number": 1,
        "uncounted_attempts": 0,
        "listener": "subscription:3",
        "created_at": CREATED,
        "event_name": "jobs.a.b",
        "event_id": "0a4c4b9e-6f3f-4a34-8a8b-222222222222",
        "body": json.dumps(EVENT).encode(),
        "source": "tapis",
        "time": None,
        "subject": None,
        "series": None,
        "place": None,
    }
    return Due(**{**values, **changes})


def subscription(sender="http", target=None, **changes):
    values = {
        "ref": 3,
        "protocol": "tapis",
        "name": f"{OWN_UUID}/jobs~anna~dev~ALL~aB3d/0123456789abcdef",
        "patterns": ("jobs.*.*",),
        "group": f"{OWN_UUID}/jobs~anna~dev~ALL~aB3d",
        "subject": None,
        "scope": "dev",
        "sender": sender,
        "target": target or {"url": "https://receiver.example.com/hook", "timeout": 10, "give_up_on": []},
        "retry": None,
        "enabled": True,
        "expires_at": None,
        "created_at": CREATED,
    }
    return Subscription(**{**values, **changes})


def test_a_webhooks_message():
    message = notification(due(), subscription())
    assert json.loads(message.body) == {
        "uuid": json.loads(message.body)["uuid"],
        "tenant": "dev",
        "subscriptionName": "jobs~anna~dev~ALL~aB3d",
        "eventUuid": "0a4c4b9e-6f3f-4a34-8a8b-222222222222",
        "event": EVENT,
        "deliveryTarget": {"deliveryMethod": "WEBHOOK", "deliveryAddress": "https://receiver.example.com/hook"},
        "created": "2024-06-12T14:03:21.615954Z",
    }
    assert message.headers == {"User-Agent": "Tapis/v3"}
    assert message.content_type == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("subject", "line"),
    [
        (None, "Tapis v3 notification. Event type: jobs.a.b"),
        ("s", "Tapis v3 notification. Event type: jobs.a.b subject: s"),
    ],
)
def test_an_emails_message(subject, line):
    message = notification(due(subject=subject), subscription("email", {"to": ["anna@example.com"]}))
    assert message.subject == line
    target = json.loads(message.body)["deliveryTarget"]
    assert target == {"deliveryMethod": "EMAIL", "deliveryAddress": "anna@example.com"}


def test_it_is_the_same_in_every_attempt_and_another_for_each_target():
    first = notification(due(), subscription())
    again = notification(due(number=4, uncounted_attempts=2), subscription())
    other = notification(due(), subscription(name=f"{OWN_UUID}/fedcba9876543210/jobs~anna~dev~ALL~aB3d"))
    assert (first.body, first.id) == (again.body, again.id)
    identities = {uuid.UUID(json.loads(message.body)["uuid"]) for message in (first, other)}
    assert len(identities) == 2


def test_events_of_other_protocols():
    body = b'{"eventName": "experiment.execution.failed", "x": "\xc3\xa4"}'
    steadybit = due(
        source="steadybit", event_name="experiment.execution.failed", event_id="e1", body=body, time=CREATED,
        subject="ADM-1", series="34", place=2,
    )  # fmt: skip
    sent = json.loads(notification(steadybit, subscription()).body)
    assert sent["eventUuid"] == "e1"
    assert sent["event"] == {
        "source": "steadybit",
        "type": "experiment.execution.failed",
        "subject": "ADM-1",
        "data": body.decode(),
        "seriesId": "34",
        "seriesSeqCount": 2,
        "timestamp": "2024-06-12T14:03:21.615954Z",
        "deleteSubscriptionsMatchingSubject": False,
        "endSeries": False,
        "tenant": "dev",
        "user": None,
        "received": "2024-06-12T14:03:21.615954Z",
        "uuid": "e1",
    }


def test_events_of_other_protocols_that_say_little():
    bare = due(source="other", event_name="x", body=b"\xff", event_id="e2")
    event = json.loads(notification(bare, subscription()).body)["event"]
    assert (event["seriesSeqCount"], event["seriesId"], event["data"]) == (-1, None, "\ufffd")


def test_the_schedule_is_that_of_the_settings():
    settings = TapisSettings(jwt_secret=SECRET, retry_schedule=(1.0,), recovery_schedule=(2.0, 3.0))
    assert delivery_format(None, settings).retry == (1.0, 2.0, 3.0)
