from datetime import UTC, datetime

import pytest
from marshmallow import Schema, ValidationError

from extension_kit.events.schema.bodies import BatchPrincipal, UserPrincipal
from extension_kit.events.schema.fields import AnyOf, DateTime, UniqueItems


class Anyone(Schema):
    who = AnyOf(UserPrincipal, BatchPrincipal)
    when = DateTime()


def test_any_of_loads_the_first_that_fits():
    user = {"username": "tom", "name": "Tom", "principalType": "user"}
    assert Anyone().load({"who": user})["who"]["principal_type"] == "user"
    job = {"username": "cron", "principalType": "batch_job"}
    assert Anyone().load({"who": job})["who"] == {"username": "cron", "principal_type": "batch_job"}


def test_any_of_says_why_each_does_not_fit():
    with pytest.raises(ValidationError) as refusal:
        Anyone().load({"who": {"username": "x"}})
    missing = ["Missing data for required field."]
    assert refusal.value.messages == {
        "who": [
            {
                "UserPrincipal": {"name": missing, "principalType": missing},
                "BatchPrincipal": {"principalType": missing},
            }
        ]
    }


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2021-09-01t12:00:00z", datetime(2021, 9, 1, 12, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_date_times_of_rfc_3339_are_loaded(text, time):
    assert Anyone().load({"when": text}) == {"when": time}


def test_an_item_that_comes_twice_is_refused():
    UniqueItems()([1, 2, [1]])
    with pytest.raises(ValidationError, match="twice"):
        UniqueItems()([1, [2], [2]])
