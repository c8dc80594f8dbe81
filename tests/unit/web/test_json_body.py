"""JSON bodies of other systems are read leniently, checked by either kind of schema, and refused by name."""

import jsonschema_rs
import pytest
from flask import Blueprint, Flask
from marshmallow import EXCLUDE, fields, validate

from extension_kit.events.schema.camel_case import CamelCase
from extension_kit.web.json_body import InvalidBody, NotAnObject, NotJson, read_json


class Ring(CamelCase):
    class Meta:
        unknown = EXCLUDE

    front_door = fields.String(required=True, validate=validate.Length(max=5))
    times = fields.Integer(load_default=1)


SCHEMA = Ring()
VALIDATOR = jsonschema_rs.Draft202012Validator({"type": "object", "required": ["door"]})


@pytest.fixture
def read():
    """Read a body within a request to the blueprint "doorbell"."""
    app = Flask(__name__)
    doorbell = Blueprint("doorbell", __name__)
    doorbell.add_url_rule("/rings", "ring", lambda: "", methods=["POST"])
    app.register_blueprint(doorbell)

    def read(body, *arguments, **options):
        with app.test_request_context("/rings", method="POST", data=body):
            return read_json(*arguments, **options)

    return read


def test_a_marshmallow_schema_loads_it(read):
    assert read(b'{"frontDoor": "a", "more": 1}', SCHEMA) == {"front_door": "a", "times": 1}


def test_a_validator_checks_it(read):
    assert read(b'{"door": "a", "more": 1}', VALIDATOR) == {"door": "a", "more": 1}


def test_without_a_schema_it_is_returned_as_it_was_read(read):
    assert read(b'{"door": [1]}') == {"door": [1]}


@pytest.mark.parametrize("schema", [None, SCHEMA, VALIDATOR], ids=["none", "marshmallow", "JSON Schema"])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", NotJson),
        (b"{", NotJson),
        (b"\xff", NotJson),
        (b"[]", NotAnObject),
        (b"null", NotAnObject),
        (b'"a"', NotAnObject),
    ],
)
def test_anything_but_an_object_is_refused(read, schema, body, error):
    with pytest.raises(error) as refused:
        read(body, schema)
    assert (refused.value.code, refused.value.problems) == (400, {})


def test_problems_are_told(read):
    with pytest.raises(InvalidBody) as refused:
        read(b'{"frontDoor": "a long one", "times": "x"}', SCHEMA)
    assert refused.value.problems == {"frontDoor": ["Longer than maximum length 5."], "times": ["Not a valid integer."]}
    with pytest.raises(InvalidBody, match="does not match"):
        read(b"{}", VALIDATOR)


def test_no_body_may_stand_for_an_object_without_keys(read):
    assert read(b"", may_be_empty=True) == {}
    with pytest.raises(InvalidBody, match="does not match"):
        read(b"", SCHEMA, may_be_empty=True)
    with pytest.raises(NotJson):
        read(b" ", may_be_empty=True)


def test_it_can_be_read_again():
    with Flask(__name__).test_request_context("/", method="POST", data=b'{"door": "a"}'):
        assert read_json(VALIDATOR) == read_json() == {"door": "a"}


def test_repairs_are_logged_with_the_values_that_find_the_event(read, caplog):
    body = b'\xef\xbb\xbf{"door": "a\\n%s", "id": null, "data": NaN}' % (b"x" * 100)
    assert read(body, VALIDATOR, logged=["door", "id", "name"])["data"] is None
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "extension_kit.doorbell"]
    assert warning.startswith("Invalid JSON repaired in the body of /rings door='a\\nxxx")
    assert warning.endswith("xx: a byte order mark was skipped, NaN or Infinity was read as null")
    assert len(warning) < 220
    caplog.clear()
    read(b'{"door": "a"}', VALIDATOR, logged=["door"])
    assert caplog.records == []
