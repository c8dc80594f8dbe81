"""History that is over is removed; what is still there, or expected again, stays."""

from datetime import UTC, datetime, timedelta

import pytest

from extensions.croneye.retention import remove_old
from tests.extensions.croneye.api import SETTINGS

LATER = datetime.now(UTC) + timedelta(days=31)  # retention is 30 days by default
NOW = datetime.now(UTC).timestamp()

ADDED = {"event_code": 512, "jobstore": "billing", "job_id": 7, "task": "invoice"}
SUBMITTED = {"event_code": 32768, "job_id": 7, "time": NOW, "next_scheduled_run_time": NOW + 60}
EXPECTED = SUBMITTED | {"next_scheduled_run_time": LATER.timestamp()}
EXECUTED = {"event_code": 4096, "job_id": 7, "time": NOW}
REMOVED = {"event_code": 1024, "job_id": 7}


def test_what_is_not_old_stays(api):
    api.take(ADDED, SUBMITTED, EXECUTED, REMOVED)
    assert remove_old(api.kit, SETTINGS) == 0
    assert len(api.log) == 4


def test_old_history_goes_and_the_job_stays(api):
    api.take(ADDED, EXPECTED, EXECUTED)
    assert remove_old(api.kit, SETTINGS, LATER) == 4
    assert (api.log, api.runs) == ([], [])
    assert api.job["task"] == "invoice"
    assert api.schedulers == {"billing": "active"}


@pytest.mark.parametrize(
    "sent",
    [[ADDED, REMOVED], [EXECUTED], [ADDED, SUBMITTED], [SUBMITTED]],
    ids=["removed", "never added", "never seen when it should have run", "neither"],
)
def test_jobs_that_are_gone_go(api, sent):
    api.take(*sent)
    remove_old(api.kit, SETTINGS, LATER)
    assert api.jobs == {}


@pytest.mark.parametrize("sent", [EXPECTED, ADDED], ids=["it runs once a year", "nobody says when it runs"])
def test_jobs_that_are_expected_again_stay(api, sent):
    api.take(sent)
    remove_old(api.kit, SETTINGS, LATER)
    assert list(api.jobs) == ["7"]


def test_schedulers_that_were_shut_down_go_with_their_last_job(api):
    api.take(ADDED, {"event_code": 2, "alias": "billing"}, {"event_code": 4, "alias": "paused"})
    remove_old(api.kit, SETTINGS, LATER)
    assert api.schedulers == {"billing": "shutdown", "paused": "paused"}
    api.take(REMOVED)
    remove_old(api.kit, SETTINGS, LATER)
    assert api.schedulers == {"paused": "paused"}


def test_much_is_removed_in_portions(api):
    api.take(*({"event_code": 16, "alias": "default"} for _ in range(101)))
    assert remove_old(api.kit, SETTINGS, LATER) == 101
