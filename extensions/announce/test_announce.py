from pathlib import Path

import pytest

from extensions import announce

EVENTS = Path(announce.__file__).parent / "events.jsonl"


@pytest.fixture
def extension():
    return announce.extension


def test_a_failed_run_is_announced_with_its_reason(agent, capsys):
    agent.send("experiment.execution.failed", experiment_key="ADM-4", execution_id=34, name="Kill a pod", reason="slow")
    line = capsys.readouterr().out
    assert line.startswith("experiment.execution.failed")
    assert "ADM-4/34 'Kill a pod'" in line
    assert "(slow)" in line


def test_steps_and_targets_are_announced_by_their_names(agent, capsys):
    agent.send("experiment.execution.step-started", custom_label="Stop the database")
    agent.send("experiment.execution.target-started", target_attributes={"steadybit.label": ["orders-db-0"]})
    step, target = capsys.readouterr().out.splitlines()
    assert "step 'Stop the database'" in step
    assert "target 'orders-db-0'" in target


def test_the_emergency_stop_is_announced(agent, capsys):
    agent.send("killswitch.engaged", principal={"principalType": "user", "username": "tom", "name": "Tom Mason"})
    assert "by Tom Mason" in capsys.readouterr().out


def test_every_recorded_event_is_one_line(agent, capsys):
    sent = agent.replay(EVENTS)
    assert {answer.status for answer in sent} == {200}
    assert len(capsys.readouterr().out.splitlines()) == len(EVENTS.read_text().splitlines())
