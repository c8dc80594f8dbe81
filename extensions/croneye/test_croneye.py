"""An example: tests of a function that listens to jobs."""

from datetime import UTC, datetime, timedelta

import pytest

from extension_kit import Extension
from extensions.croneye import CronEyeEvent

oncall = Extension("extension-oncall")


@oncall.listen_to("croneye.job.error", "croneye.job.overdue", "croneye.job.lost")
def call(event: CronEyeEvent) -> None:
    problem = f"runs since {event.started:%H:%M}" if event.started else event.exception or "did not run"
    print(f"{event.scheduler}: {event.task or event.job_id}: {problem}")


@pytest.fixture
def extension():
    return oncall


def event(name, **data):
    return CronEyeEvent.of(source="croneye", id="1", name=name, data={"scheduler": "billing", "job_id": "7", **data})


FAILED = event("croneye.job.error", task="invoices", payload={"exception": "no paper"})
OVERDUE = event("croneye.job.overdue", next_run="2026-11-21T10:00:00Z")
LOST = event("croneye.job.lost", started="2026-11-21T10:00:00Z")
EXECUTED = event("croneye.job.executed")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (FAILED, "billing: invoices: no paper\n"),
        (OVERDUE, "billing: 7: did not run\n"),
        (LOST, "billing: 7: runs since 10:00\n"),
        (EXECUTED, ""),
    ],
    ids=["failed", "overdue", "lost", "executed"],
)
def test_who_is_on_call_is_told(agent, capsys, told, said):
    assert agent.publish(told).error is None
    assert capsys.readouterr().out == said


def test_what_an_event_does_not_say_is_none():
    empty = event("croneye.job.executed")
    assert (empty.task, empty.next_run, empty.duration, empty.exception) == (None,) * 4
    assert (empty.return_value, empty.traceback, empty.payload, empty.started) == (None, None, {}, None)
    full = event("croneye.job.executed", next_run="2026-11-21T10:00:00Z", duration=1.5)
    assert full.next_run == datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert full.duration == timedelta(seconds=1.5)
