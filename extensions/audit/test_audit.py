import json

import pytest

from extensions import audit


@pytest.fixture
def extension():
    return audit.extension


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("EXTENSION_AUDIT_TARGET", (tmp_path / "audit").as_uri())
    yield tmp_path / "audit"
    audit.close()


def test_each_event_of_a_run_is_a_line(agent, folder):
    sent = agent.play(agent.factory.run(outcome="failed"))
    (file,) = folder.iterdir()
    kept = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert [record["body"] for record in kept] == [each.event for each in sent]
    assert kept[-1]["name"] == "experiment.execution.failed"
    assert kept[-1]["subject"].endswith(str(sent[-1].event["experimentExecution"]["executionId"]))
