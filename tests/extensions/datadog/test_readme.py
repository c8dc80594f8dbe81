"""The README says what is so: its example is made of the event that it describes, its variables are the settings."""

import json
import re
from dataclasses import fields
from pathlib import Path

from extension_kit import Event
from extensions.datadog.events import datadog_event
from extensions.datadog.settings import DatadogSettings

README = (Path(__file__).parents[3] / "extensions/datadog/README.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)


def test_the_example_is_what_the_start_of_an_attack_becomes(event):
    run = {
        "experiment_key": "PLAT-77",
        "execution_id": 60295,
        "team": {"id": "1", "key": "PLAT", "name": "Platform"},
        "environment": {"id": "1", "name": "Production"},
        "principal": {"principalType": "user", "username": "lena.vogt", "name": "Lena Vogt"},
    }
    step = event(
        "experiment.execution.step-started",
        **run,
        action_id="com.steadybit.extension_kubernetes.rollout-restart",
        action_name="Rollout Restart",
        action_kind="attack",
        custom_label=None,
    )
    target = event(
        "experiment.execution.target-started",
        **run,
        event_time="2026-03-02T09:22:03.083908Z",
        id="a7a11490-7513-4237-95c1-d2dfa9964aef",
        started_time="2026-03-02T09:22:02.940492Z",
        target_attributes={
            "steadybit.label": ["checkout"],
            "k8s.cluster-name": ["prod"],
            "k8s.namespace": ["shop"],
            "host.hostname": ["node-1"],
        },
    )
    made = datadog_event(Event.from_body(target, find_step=lambda series, step_id: json.dumps(step).encode()))
    assert made == json.loads(EXAMPLE)


def test_the_variables_that_it_names_are_settings():
    named = set(re.findall(r"EXTENSION_DATADOG_\w+", README))
    assert named == {field.metadata["setting"].variable for field in fields(DatadogSettings)}
