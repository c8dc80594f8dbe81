"""What becomes of schedulers and jobs, in whatever order their events come."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import permutations
from random import Random

import pytest
from sqlalchemy import select

from extensions.croneye.tables import jobs, log, runs
from tests.extensions.croneye.api import at, is_anybody_blocked
from tests.support.waiting import wait_until

NOW = 1_700_000_000
ADDED = {"event_code": 512, "jobstore": "billing", "job_id": 7, "task": "invoice"}
REMOVED = {"event_code": 1024, "job_id": 7}
SUBMITTED = {"event_code": 32768, "job_id": 7, "time": NOW, "next_scheduled_run_time": NOW + 60}
EXECUTED = {"event_code": 4096, "job_id": 7, "time": NOW + 5, "return_value": "done"}
ERROR = {"event_code": 8192, "job_id": 7, "time": NOW + 5, "exception": "ValueError('no')", "traceback": "line 1"}
MISSED = {"event_code": 16384, "job_id": 7, "time": NOW + 5, "exception": "", "traceback": ""}
BREACHED = {"event_code": 65536, "job_id": 7, "time": NOW + 2, "next_scheduled_run_time": NOW + 60}


def scheduler(code, alias="billing", **more):
    return {"event_code": code, "alias": alias, **more}


STARTED, SHUTDOWN, PAUSED, RESUMED = (scheduler(code) for code in (1, 2, 4, 8))


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        ([1], "active"),
        ([4], "paused"),
        ([8], "active"),
        ([2], "shutdown"),
        ([1, 4], "paused"),
        ([1, 4, 8], "active"),
        ([1, 4, 8, 2], "shutdown"),
        ([1, 2, 1], "active"),
    ],
)
def test_a_scheduler_is_as_its_last_event_says(api, codes, status):
    api.take(*(scheduler(code) for code in codes), scheduler(1, "other"))
    assert api.schedulers == {"billing": status, "other": "active"}


def test_what_a_scheduler_says_late_does_not_count(api):
    """Where events carry times, as those of this kit's sender do."""
    sent = [scheduler(1, time=NOW), scheduler(4, time=NOW + 1), scheduler(8, time=NOW + 2), scheduler(2, time=NOW + 3)]
    for order in permutations(sent):
        api.clear()
        api.take(*order)
        assert api.schedulers == {"billing": "shutdown"}


def test_an_added_job_is_active_and_linked(api):
    api.take(STARTED, ADDED)
    assert (api.job["scheduler"], api.job["task"], api.job["is_active"]) == ("billing", "invoice", True)


def test_a_job_of_a_scheduler_that_has_not_started_yet_is_linked_all_the_same(api):
    api.take(ADDED)
    assert api.schedulers == {"billing": "active"}
    api.take(PAUSED)
    assert (api.job["scheduler"], api.schedulers) == ("billing", {"billing": "paused"})


def test_a_job_of_nobody_is_kept_until_somebody_names_it(api):
    api.take({"event_code": 512, "job_id": 7, "task": "invoice"}, SUBMITTED)
    assert (api.job["scheduler"], api.schedulers) == ("", {})
    api.take(ADDED, EXECUTED)
    assert api.job["scheduler"] == "billing"
    assert api.runs == [(NOW, NOW + 5, "succeeded")]
    assert {entry["job_ref"] for entry in api.log} == {api.job["ref"]}


def test_adding_a_job_again_replaces_its_task(api):
    api.take(ADDED, ADDED | {"task": "remind"})
    assert api.job["task"] == "remind"


def test_a_removed_job_is_inactive_and_its_history_stays(api):
    api.take(ADDED, SUBMITTED, EXECUTED, REMOVED)
    assert not api.job["is_active"]
    assert len(api.log) == 4
    assert api.runs == [(NOW, NOW + 5, "succeeded")]


def test_removing_an_unknown_job_is_no_error(api):
    api.take(REMOVED)
    assert not api.job["is_active"]


def test_a_job_that_is_added_again_is_active_again(api):
    api.take(ADDED, REMOVED, ADDED | {"task": "remind"})
    assert (api.job["is_active"], api.job["task"]) == (True, "remind")


def test_a_removed_job_that_still_runs_stays_removed(api):
    api.take(ADDED, REMOVED, SUBMITTED, EXECUTED)
    assert not api.job["is_active"]
    assert api.runs == [(NOW, NOW + 5, "succeeded")]


def test_an_event_of_an_unknown_job_adds_it(api):
    api.take(EXECUTED)
    assert (api.job["job_id"], api.job["task"], api.job["is_active"]) == ("7", None, True)
    assert api.rows(log, "job_ref") == [(api.job["ref"],)]


def test_all_jobs_of_a_scheduler_are_removed_at_once(api):
    other = ADDED | {"jobstore": "shipping", "job_id": 1}
    api.take(ADDED, ADDED | {"job_id": 8}, other, {"event_code": 256, "alias": "billing"})
    assert {job_id: job["is_active"] for job_id, job in api.jobs.items()} == {"7": False, "8": False, "1": True}
    api.take(ADDED)
    assert api.jobs["7"]["is_active"]


def test_what_was_removed_before_it_was_added_again_stays(api):
    api.take(ADDED | {"time": NOW + 5}, {"event_code": 256, "alias": "billing", "time": NOW})
    assert api.job["is_active"]


def test_two_schedulers_may_have_jobs_of_the_same_id(api):
    mine, theirs = {"alias": "billing"}, {"alias": "shipping"}
    api.take(ADDED, ADDED | {"jobstore": "shipping", "task": "parcel"}, SUBMITTED | theirs, EXECUTED | theirs)
    api.take(REMOVED | mine)
    found = {row["scheduler"]: (row["task"], row["is_active"]) for row in api.rows(jobs)}
    assert found == {"billing": ("invoice", False), "shipping": ("parcel", True)}
    assert len(api.runs) == 1
    api.take(SUBMITTED | {"time": NOW + 9})  # nobody says whose: the one that is there
    assert [entry["job_ref"] for entry in api.log][-1] == api.rows(jobs)[1]["ref"]


@pytest.mark.parametrize(
    ("sent", "outcome"), [(EXECUTED, "succeeded"), (ERROR, "failed"), (MISSED, "missed")], ids=["ok", "error", "missed"]
)
def test_an_end_closes_the_run(api, sent, outcome):
    api.take(ADDED, SUBMITTED)
    assert api.job["running_since"] == at(NOW)
    api.take(sent)
    assert api.job["running_since"] is None
    assert api.runs == [(NOW, NOW + 5, outcome)]
    entry = api.log[-1]
    assert (entry["return_value"], entry["exception"], entry["traceback"]) == (
        sent.get("return_value"),
        sent.get("exception"),
        sent.get("traceback"),
    )
    assert api.rows(runs, "ended_log") == [(entry["ref"],)]


def test_a_submission_says_when_the_next_run_is(api):
    api.take(ADDED, SUBMITTED)
    assert api.job["next_run"] == at(NOW + 60)
    api.take(BREACHED | {"time": NOW + 60, "next_scheduled_run_time": NOW + 120})
    assert api.job["next_run"] == at(NOW + 120)
    api.take(SUBMITTED | {"time": NOW + 120, "next_scheduled_run_time": None})
    assert api.job["next_run"] is None


def test_an_older_submission_does_not_take_the_next_run_back(api):
    api.take(SUBMITTED | {"time": NOW + 60, "next_scheduled_run_time": NOW + 120}, SUBMITTED)
    assert api.job["next_run"] == at(NOW + 120)


def test_that_a_job_was_added_does_not_take_back_what_its_submission_said(api):
    api.take(SUBMITTED, ADDED | {"next_scheduled_run_time": NOW})
    assert api.job["next_run"] == at(NOW + 60)


def test_a_changed_job_has_another_next_run(api):
    api.take(ADDED | {"next_scheduled_run_time": NOW})
    assert api.job["next_run"] == at(NOW)
    api.take({"event_code": 2048, "job_id": 7, "next_scheduled_run_time": None})  # paused
    assert api.job["next_run"] is None
    api.take({"event_code": 2048, "job_id": 7})
    api.take({"event_code": 2048, "job_id": 7, "next_scheduled_run_time": NOW + 9})
    assert api.job["next_run"] == at(NOW + 9)


def test_the_last_event_is_the_last_by_its_time(api):
    for order in permutations([SUBMITTED, BREACHED, EXECUTED]):
        api.clear()
        api.take(*order)
        assert (api.job["last_code"], api.job["last_at"]) == (4096, at(NOW + 5))


def test_events_without_times_are_taken_as_of_now(api):
    without = [{key: value for key, value in sent.items() if key != "time"} for sent in (SUBMITTED, EXECUTED)]
    api.take(*without)
    (run,) = api.rows(runs)
    assert timedelta() <= run["ended_at"] - run["started_at"] < timedelta(minutes=1)
    assert api.rows(log, "time") == [(None,), (None,)]


STORIES = {
    "as documented": [STARTED, ADDED, SUBMITTED, EXECUTED],
    "with times": [
        scheduler(1, time=NOW),
        ADDED | {"alias": "billing", "time": NOW + 1, "next_scheduled_run_time": NOW + 2},
        SUBMITTED | {"alias": "billing", "time": NOW + 2, "next_scheduled_run_time": None},
        EXECUTED | {"alias": "billing", "time": NOW + 3},
        REMOVED | {"alias": "billing", "time": NOW + 4},
    ],
    "two runs": [
        SUBMITTED,
        EXECUTED,
        SUBMITTED | {"time": NOW + 60},
        ERROR | {"time": NOW + 61},
        BREACHED | {"time": NOW + 70, "next_scheduled_run_time": None},
    ],
}


@pytest.mark.parametrize("story", STORIES)
def test_the_order_of_arrival_does_not_matter(api, story):
    def state():
        kept = ("scheduler", "job_id", "task", "is_active", "next_run", "last_code", "last_at", "running_since")
        return [{key: row[key] for key in kept} for row in api.rows(jobs)], api.runs, api.schedulers

    api.take(*STORIES[story])
    expected = state()
    assert expected[1]
    orders = list(permutations(STORIES[story]))
    for order in Random(1).sample(orders, min(len(orders), 24)):
        api.clear()
        api.take(*order)
        assert state() == expected, order


def test_what_is_published_is_typed(api):
    api.take(STARTED, ADDED, SUBMITTED, EXECUTED, ERROR, MISSED, BREACHED, REMOVED)
    names = [event.name for event in api.events]
    assert names == [
        "croneye.scheduler.started",
        *(f"croneye.job.{word}" for word in ("added", "submitted", "executed", "error", "missed")),
        "croneye.job.max-instances",
        "croneye.job.removed",
    ]
    started, added, submitted, executed, error, *_ = api.events
    assert (started.source, started.subject, started.scheduler, started.job_id) == (
        "croneye",
        "billing",
        "billing",
        None,
    )
    assert (added.subject, added.scheduler, added.job_id, added.task) == ("billing/7", "billing", "7", "invoice")
    assert (submitted.time, submitted.next_run, submitted.duration) == (at(NOW), at(NOW + 60), None)
    assert (executed.return_value, executed.duration) == ("done", timedelta(seconds=5))
    assert (error.exception, error.traceback, error.payload) == ("ValueError('no')", "line 1", ERROR)
    assert (error.experiment_execution, error.return_value) == (None, None)


def test_the_same_bytes_are_two_events_unless_they_say_whose_they_are_and_when(api):
    api.take(STARTED, STARTED, EXECUTED, EXECUTED)
    assert len({event.id for event in api.events}) == 4
    complete = EXECUTED | {"alias": "billing"}
    api.clear()
    api.take(complete, complete, scheduler(4, time=NOW), scheduler(8, time=NOW + 1), scheduler(4, time=NOW))
    assert len(api.events) == len(api.log) == 3
    assert len(api.runs) == 1
    assert api.schedulers == {"billing": "active"}


def test_many_senders_at_once(api):
    """Forty at the same time: jobs of one scheduler, each with a whole life, and the same event several times."""
    names = [f"job {number}" for number in range(10)]

    def sent(name):
        own = {"job_id": name}
        complete = {"alias": "billing", "time": NOW, "task": name}
        return [
            scheduler(1),
            ADDED | own,
            SUBMITTED | own,
            EXECUTED | own,
            scheduler(4, time=NOW),
            ADDED | own | complete,
            {"event_code": 256, "alias": "billing", "time": NOW - 1},
        ]

    everything = [payload for name in names for payload in sent(name)] * 2
    with ThreadPoolExecutor(40) as pool:

        def post(payload):
            client = api.client.application.test_client()
            return client.post("/event", json=payload, headers={"Authorization": "Token secret"}).status_code

        assert set(pool.map(post, everything)) == {200}
    assert set(api.jobs) == set(names)
    assert all(job["is_active"] and job["scheduler"] == "billing" for job in api.jobs.values())
    counts = [sum(entry["code"] == code for entry in api.log) for code in (1, 512, 32768, 4096, 4, 256)]
    assert counts == [20, 30, 20, 20, 1, 1]
    assert len(api.events) == len(api.log)
    assert len(api.runs) == 20


@pytest.mark.parametrize("session_api", ["postgresql"], indirect=True)
def test_all_jobs_of_a_scheduler_are_locked_in_the_order_in_which_an_event_of_one_job_locks(api):
    """Else two schedulers that lose all jobs, and events of two jobs that both have, could wait in a ring."""
    api.take(ADDED, ADDED | {"job_id": 8}, ADDED | {"task": "so that its row is behind the other one"})
    first, second = (row["ref"] for row in api.rows(jobs))
    locked = select(jobs.c.ref).with_for_update(skip_locked=True).order_by(jobs.c.ref)
    with ThreadPoolExecutor(1) as pool:
        with api.database.transaction() as connection:
            connection.execute(locked.where(jobs.c.ref == first))
            removal = pool.submit(api.take, {"event_code": 256, "alias": "billing"})
            wait_until(lambda: is_anybody_blocked(api))
            assert connection.execute(locked).scalars().all() == [first, second]
        removal.result(30)
    assert not any(job["is_active"] for job in api.jobs.values())
