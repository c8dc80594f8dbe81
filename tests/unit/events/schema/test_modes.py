"""Strict components are compared with the specification in test_bodies.py; tolerant ones are made from them."""

from copy import deepcopy

import pytest

from extension_kit.events.schema.modes import event_components


def test_components_are_made_anew_each_time():
    changed, untouched = event_components("tolerant"), deepcopy(event_components("tolerant"))
    changed["ExperimentExecution"]["properties"]["executionId"]["type"].clear()
    changed["EventRequestBody"]["properties"]["principal"]["anyOf"].clear()
    assert event_components("tolerant") == untouched


@pytest.mark.parametrize("name", event_components("strict"))
def test_tolerant_components_have_the_same_keys_and_require_fewer(name):
    strict, tolerant = event_components("strict")[name], event_components("tolerant")[name]
    assert tolerant["properties"].keys() == strict["properties"].keys()
    always = {"EventRequestBody": ["eventName", "id", "tenant"]}.get(name, [])
    assert sorted(tolerant.get("required", [])) == always


@pytest.mark.parametrize("mode", ["strict", "tolerant"])
def test_hints_for_the_modes_are_not_in_the_documents(mode):
    for component in event_components(mode).values():
        assert not [key for inner in component["properties"].values() for key in inner if key.startswith("x-")]
