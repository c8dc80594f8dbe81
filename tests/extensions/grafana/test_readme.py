"""The README says what is so: its example is made of the event that it describes, its variables are the settings."""

import json
import re
from dataclasses import fields
from pathlib import Path

from extensions.grafana.settings import GrafanaSettings

README = (Path(__file__).parents[3] / "extensions/grafana/README.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)


def test_the_example_is_what_a_failed_run_becomes(agent, grafana, event):
    example = json.loads(EXAMPLE)
    run = {
        "experiment_key": "PLAT-77",
        "execution_id": 60295,
        "name": "Checkout survives a busy neighbour",
        "started_time": "2026-03-02T09:22:02.636656Z",
        "team": {"id": "1", "key": "PLAT", "name": "Platform"},
        "environment": {"id": "1", "name": "Production"},
    }
    ended = {"ended_time": "2026-03-02T09:22:34.120Z", "reason": "HTTP check failed"}
    agent.play([event("experiment.execution.created", **run), event("experiment.execution.failed", **run, **ended)])
    (annotation,) = grafana.found()
    assert {name: annotation[name] for name in example} == {**example, "id": 1}


def test_the_variables_that_it_names_are_settings():
    named = set(re.findall(r"EXTENSION_GRAFANA_\w+", README))
    assert named == {field.metadata["setting"].variable for field in fields(GrafanaSettings)}
