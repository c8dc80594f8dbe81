from itertools import cycle

import pytest

from extension_kit import GiveUp
from extensions import pager


@pytest.fixture
def extension():
    return pager.extension


@pytest.fixture(autouse=True)
def reports(tmp_path, monkeypatch):
    monkeypatch.setattr(pager, "telephone", cycle(["answered"]))
    monkeypatch.setattr(pager, "REPORTS", tmp_path)
    return tmp_path


def test_a_failed_run_is_told_and_reported(agent, reports, capsys):
    agent.send("experiment.execution.failed", experiment_key="ADM-4", execution_id=34, name="Kill a pod", reason="slow")
    assert "somebody on call knows of ADM-4/34" in capsys.readouterr().out
    assert (reports / "ADM-4-34.txt").read_text() == "Kill a pod: failed (slow)\n"


def test_an_engaged_line_is_an_error_until_somebody_answers(agent, monkeypatch):
    monkeypatch.setattr(pager, "telephone", cycle(["engaged", "engaged", "answered"]))
    sent = agent.send("experiment.execution.errored")
    called, reported = sent.deliveries
    assert (called.status, called.attempts, called.waits) == ("delivered", 3, pytest.approx([1, 2], rel=0.11))
    assert (reported.status, reported.attempts) == ("delivered", 1)
    assert str(sent.error) == "the line is engaged"


def test_a_missing_directory_is_a_reason_to_give_up(agent, reports):
    reports.rmdir()
    sent = agent.send("experiment.execution.failed")
    assert isinstance(sent.error, GiveUp)
    assert [(each.name, each.status, each.attempts) for each in sent.deliveries][-1] == ("report", "dead", 1)
