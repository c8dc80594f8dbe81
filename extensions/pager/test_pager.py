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
    errors = [agent.send("experiment.execution.errored").error for _ in range(3)]
    assert [str(error) for error in errors] == ["the line is engaged", "the line is engaged", "None"]


def test_a_missing_directory_is_a_reason_to_give_up(agent, reports):
    reports.rmdir()
    assert isinstance(agent.send("experiment.execution.failed").error, GiveUp)
