"""Runs of whose end nothing is heard are reported once, and only those."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from extensions.croneye.lost import report_lost, usual_seconds
from extensions.croneye.runs import Mark, Run
from extensions.croneye.watch import Watch
from tests.extensions.croneye.api import SETTINGS, at, shown_jobs, summary

ADDED = {"event_code": 512, "jobstore": "billing", "job_id": 7, "task": "invoice"}
FAR = 1_000_000  # seconds


@pytest.fixture
def now():
    return round(time.time())


@pytest.fixture
def run(api, now):
    """Tell of a run of the job 7 that begins so many seconds after now, and how long it takes if it ends."""

    def run(begin, seconds=None, *, code=4096, **more):
        job = {"job_id": 7, **more}
        api.take({"event_code": 32768, "time": now + begin, **job})
        if seconds is not None:
            api.take({"event_code": code, "time": now + begin + seconds, **job})

    return run


@pytest.fixture
def refuse(api, now):
    return lambda second, **more: api.take({"event_code": 65536, "job_id": 7, "time": now + second, **more})


@pytest.fixture
def look(api, now):
    return lambda seconds: report_lost(api.kit, SETTINGS, at(now + seconds))


def lost(api):
    return [event for event in api.events if event.name == "croneye.job.lost"]


def test_a_run_that_lasts_three_times_as_long_as_usual_is_reported_once(api, run, look, now):
    api.take(ADDED)
    run(-1000, 100)
    run(0)
    assert look(299) == 0
    assert [look(600), look(600), look(FAR)] == [1, 0, 0]
    (event,) = lost(api)
    assert (event.subject, event.scheduler, event.job_id, event.task) == ("billing/7", "billing", "7", "invoice")
    assert (event.started, event.time) == (at(now), at(now + 600))
    assert (event.payload, event.exception, event.duration) == ({}, None, None)


def test_no_run_is_lost_before_the_setting_says_so(api, run, look):
    run(-1000, 0.1)
    run(0)
    assert [look(59), look(120)] == [0, 1]


def test_where_no_run_has_ended_nothing_is_known(run, look):
    run(-1000)
    run(0)
    assert look(FAR) == 0


def test_what_was_told_late_is_given_its_time_from_then_on(api, run, look):
    """After a while in which this server was away, the end may be told right behind the begin."""
    run(-5000, 1)
    run(-4000)
    assert look(0) == 0
    run(-3000)
    assert look(FAR) == 2


def test_a_run_that_is_the_reason_for_a_refusal_is_reported_once(api, run, refuse, look, now):
    api.take(ADDED)
    run(0)
    for second in (60, 120, 180):
        refuse(second)
    (event,) = lost(api)
    assert event.started == at(now)
    assert [each.name for each in api.events][-4:].count("croneye.job.max-instances") == 3
    assert look(FAR) == 0


@pytest.mark.parametrize(("second", "reported"), [(99, 0), (100, 1)])
def test_a_run_that_is_no_longer_than_usual_may_well_refuse_others(api, run, refuse, second, reported):
    run(-1000, 100)
    run(0)
    refuse(second)
    assert len(lost(api)) == reported


def test_a_run_that_has_ended_refuses_nothing(api, run, refuse, look):
    run(0, 10)
    refuse(20)
    run(100, 10)
    assert (look(FAR), lost(api)) == (0, [])


def test_a_run_that_ends_after_all_is_one_as_any_other(api, run, refuse, look, now):
    api.take(ADDED)
    run(0)
    refuse(60)
    assert (api.job["running_since"], api.job["lost_since"]) == (None, at(now))
    assert summary(api) == ("active", 1, 0, 1, 1)
    window = {"time_range": {"start": (now - 10) * 1000, "end": (now + 100) * 1000}}
    assert [event["outcome"] for event in shown_jobs(api, window)[0][0]["events"]] == ["lost"]
    api.take({"event_code": 4096, "job_id": 7, "time": now + 90})
    assert (api.job["running_since"], api.job["lost_since"]) == (None, None)
    assert [event["outcome"] for event in shown_jobs(api, window)[0][0]["events"]] == ["succeeded"]
    assert summary(api) == ("active", 1, 0, 0, 0)
    assert (look(FAR), len(lost(api))) == (0, 1)


def test_the_next_run_is_another_one(api, run, refuse, look, now):
    run(-1000, 10)
    run(0)
    assert look(FAR) == 1
    run(100)
    assert api.job["lost_since"] is None
    assert api.job["running_since"] == at(now + 100)
    assert look(2 * FAR) == 1
    assert [event.started for event in lost(api)] == [at(now), at(now + 100)]
    assert len({event.id for event in lost(api)}) == 2


def test_runs_at_the_same_time_are_told_apart_by_when_they_were_due(api, run, look, now):
    run(-1000, 10, scheduled_run_time=now - 1000)
    run(0, scheduled_run_time=now)
    run(0, scheduled_run_time=now + 1)
    run(0, 20, scheduled_run_time=now + 2)
    assert (look(FAR), look(FAR)) == (2, 0)
    assert len({event.id for event in lost(api)}) == 2


def test_the_id_comes_from_what_is_lost(api, run, look, now):
    """So that a report is not made twice, even where the table has forgotten it."""
    ids = []
    for _ in range(2):
        api.clear()
        api.take(ADDED)
        run(-1000, 10)
        run(0)
        look(FAR + len(ids))
        ids += [event.id for event in lost(api)]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_workers_that_look_at_the_same_time_report_once(api, look, now):
    for number in range(5):
        job = {"job_id": number}
        api.take({"event_code": 32768, "time": now - 100, **job}, {"event_code": 4096, "time": now - 90, **job})
        api.take({"event_code": 32768, "time": now, **job})
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(look, [FAR] * 8)) == 5
    assert sorted(event.job_id for event in lost(api)) == list("01234")


def test_a_refusal_and_a_look_at_the_same_time_report_once(api, run, refuse, look):
    run(-1000, 1)
    run(0)
    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(look, FAR) if number % 2 else pool.submit(refuse, 60 + number) for number in range(6)]
        for each in done:
            each.result(30)
    assert len(lost(api)) == 1


def test_what_is_stored_follows_a_run_whose_pair_changes(api, run, look, now):
    """The end of a run is told before that of one before it, which had seemed to be the one that was lost."""
    run(-1000, 10)
    run(0)
    run(100)
    assert look(FAR) == 2
    api.take({"event_code": 4096, "job_id": 7, "time": now + 110}, {"event_code": 4096, "job_id": 7, "time": now + 50})
    assert [outcome for _, _, outcome in api.runs] == ["succeeded"] * 3
    assert look(2 * FAR) == 0


def test_clocks_of_services_may_say_anything(api, run, look):
    run(-1000, 10)
    api.take({"event_code": 32768, "job_id": 7, "time": 253402300799999}, {"event_code": 32768, "job_id": 8, "time": 0})
    api.take({"event_code": 4096, "job_id": 8, "time": 253402300799999}, {"event_code": 32768, "job_id": 8, "time": 5})
    api.take({"event_code": 65536, "job_id": 8, "time": 253402300799999})
    assert look(FAR) == 0


def ended(seconds, outcome="succeeded"):
    return Run(Mark(at(0), None, None), Mark(at(seconds), outcome, 1))


@pytest.mark.parametrize(
    ("before", "run", "after"),
    [
        (None, ended(5), 5),
        (None, ended(5, "failed"), 5),
        (10, ended(20), 20),
        (10, ended(20, "failed"), 20),
        (10, ended(0), 9),
        (10, ended(0, "failed"), 10),  # at once, which says little
        (10, ended(5, "missed"), 10),
        (10, Run(None, Mark(at(5), "succeeded", 1)), 10),
    ],
)
def test_how_long_is_usual(before, run, after):
    assert usual_seconds(before, run) == after


@pytest.mark.parametrize("session_api", ["sqlite"], indirect=True)
def test_services_may_catch_up_after_a_start(api, run, now):
    run(-1000, 10)
    run(0)
    clock = iter([1000.0, 1059.9, 1060.0])
    watch = Watch(lambda: next(clock))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("extensions.croneye.watch.datetime", _Later)
        for reported in (0, 0, 1):
            watch(api.kit, SETTINGS)
            assert len(lost(api)) == reported


class _Later:
    @staticmethod
    def now(zone):
        return at(time.time() + FAR)
