"""Fields with names of Python have keys in camelCase, in what is loaded, dumped and documented."""

import pytest
from marshmallow import fields

from extension_kit.events.schema.camel_case import CamelCase, camel_case
from extension_kit.events.schema.openapi import json_schema_components


class Door(CamelCase):
    name = fields.String(required=True)
    last_rung_at = fields.String()


class House(CamelCase):
    front_door = fields.Nested(Door)


@pytest.mark.parametrize(
    ("name", "key"), [("name", "name"), ("series_id", "seriesId"), ("a_b_c", "aBC"), ("ttl2_x", "ttl2X")]
)
def test_names(name, key):
    assert camel_case(name) == key


def test_keys():
    house = {"frontDoor": {"name": "a", "lastRungAt": "now"}}
    loaded = House().load(house)
    assert loaded == {"front_door": {"name": "a", "last_rung_at": "now"}}
    assert House().dump(loaded) == house


def test_documents():
    components = json_schema_components(House)
    assert list(components["Door"]["properties"]) == ["name", "lastRungAt"]
    assert components["Door"]["required"] == ["name"]
    assert list(components["House"]["properties"]) == ["frontDoor"]
