"""Jobs that are not seen when they should have run are reported once for each time, and only those."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from extensions.croneye.overdue import report_overdue
from extensions.croneye.watch import Watch
from tests.extensions.croneye.api import SETTINGS, at

NOW = 1_700_000_000
GRACE = 60
ADDED = {"event_code": 512, "jobstore": "billing", "job_id": 7, "task": "invoice"}
SUBMITTED = {"event_code": 32768, "job_id": 7, "time": NOW - 100, "next_scheduled_run_time": NOW}


@pytest.fixture
def look(api):
    def look(seconds, grace=GRACE):
        return report_overdue(api.kit, replace(SETTINGS, overdue_after=grace), at(NOW + seconds))

    return look


def overdue(api):
    return [event for event in api.events if event.name == "croneye.job.overdue"]


def test_a_job_that_is_not_seen_is_reported_once(api, look):
    api.take(ADDED, SUBMITTED)
    assert look(GRACE - 1) == 0
    assert [look(GRACE), look(GRACE), look(GRACE + 1000)] == [1, 0, 0]
    (event,) = overdue(api)
    assert (event.subject, event.scheduler, event.job_id, event.task) == ("billing/7", "billing", "7", "invoice")
    assert (event.next_run, event.time) == (at(NOW), at(NOW + GRACE))
    assert (event.payload, event.exception, event.return_value, event.duration) == ({}, None, None, None)


def test_every_time_is_reported(api, look):
    api.take(ADDED, SUBMITTED)
    assert look(GRACE) == 1
    api.take(SUBMITTED | {"time": NOW + 100, "next_scheduled_run_time": NOW + 200})
    assert [look(150), look(200 + GRACE)] == [0, 1]
    assert [event.next_run for event in overdue(api)] == [at(NOW), at(NOW + 200)]
    assert len({event.id for event in overdue(api)}) == 2


def test_the_id_comes_from_what_is_overdue(api, look):
    """So that a report is not made twice, even where the table has forgotten it."""
    api.take(ADDED, SUBMITTED)
    look(GRACE)
    (first,) = overdue(api)
    api.clear()
    api.take(ADDED, SUBMITTED)
    look(GRACE + 500)
    (second,) = overdue(api)
    assert first.id == second.id


def test_jobs_whose_names_read_the_same_together_are_reported_each(api, look):
    api.take(SUBMITTED | {"alias": "a", "job_id": "b/c"}, SUBMITTED | {"alias": "a/b", "job_id": "c"})
    assert look(GRACE) == 2
    assert [(event.scheduler, event.job_id) for event in overdue(api)] == [("a", "b/c"), ("a/b", "c")]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"event_code": 1024, "job_id": 7}, id="removed"),
        pytest.param({"event_code": 256, "alias": "billing"}, id="all removed"),
        pytest.param({"event_code": 4, "alias": "billing"}, id="its scheduler is paused"),
        pytest.param({"event_code": 2, "alias": "billing"}, id="its scheduler was shut down"),
        pytest.param({"event_code": 2048, "job_id": 7, "next_scheduled_run_time": None}, id="paused"),
        pytest.param({"event_code": 4096, "job_id": 7, "time": NOW}, id="it ran"),
        pytest.param({"event_code": 16384, "job_id": 7, "time": NOW + 1}, id="it was missed"),
        pytest.param(SUBMITTED | {"time": NOW, "next_scheduled_run_time": None}, id="it was its last run"),
        pytest.param({"event_code": 65536, "job_id": 7, "time": NOW + 1}, id="it still runs"),
    ],
)
def test_who_is_seen_or_not_expected_is_not_reported(api, look, sent):
    api.take(ADDED, SUBMITTED, sent)
    assert look(10_000) == 0


def test_what_was_seen_before_does_not_count(api, look):
    api.take(ADDED, SUBMITTED, {"event_code": 4096, "job_id": 7, "time": NOW - 1})
    assert look(GRACE) == 1


def test_a_scheduler_that_was_just_resumed_has_time_to_catch_up(api, look):
    api.take(ADDED, SUBMITTED, {"event_code": 4, "alias": "billing", "time": NOW - 1})
    api.take({"event_code": 8, "alias": "billing", "time": NOW + 500})
    assert [look(GRACE), look(500 + GRACE - 1), look(500 + GRACE)] == [0, 0, 1]


def test_a_job_of_nobody_is_reported_too(api, look):
    api.take(SUBMITTED)
    assert look(GRACE) == 1
    (event,) = overdue(api)
    assert (event.subject, event.scheduler, event.task) == ("7", None, None)


def test_many_are_reported(api, look, monkeypatch):
    monkeypatch.setattr("extensions.croneye.overdue._BATCH", 2)
    api.take(*(SUBMITTED | {"job_id": number} for number in range(5)))
    assert look(GRACE) == 5
    assert {event.job_id for event in overdue(api)} == set("01234")


def test_workers_that_look_at_the_same_time_report_once(api, look):
    api.take(*(SUBMITTED | {"job_id": number} for number in range(5)))
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(look, [GRACE] * 8)) == 5
    assert len(overdue(api)) == 5


def test_the_grace_may_be_nothing(api, look):
    api.take(SUBMITTED)
    assert look(0, grace=0) == 1


@pytest.mark.parametrize(("grace", "wait"), [(0, 0), (10, 10), (60, 60), (86_400, 60)])
def test_services_may_catch_up_after_a_start(api, grace, wait):
    api.take(SUBMITTED)
    clock = iter([1000.0, 999.9 + wait, 1000.0 + wait])
    watch = Watch(lambda: next(clock))
    reported = []
    for _ in range(3):
        watch(api.kit, replace(SETTINGS, overdue_after=grace))
        reported.append(len(overdue(api)))
    assert reported == ([0, 0, 1] if wait else [1, 1, 1])
