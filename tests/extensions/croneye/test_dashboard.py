"""What dashboards are shown, in the shapes that CronEye's own web client reads."""

from datetime import UTC, datetime

import pytest

from tests.extensions.croneye.api import shown_jobs, summary

NOW = 1_700_000_000
MS = NOW * 1000

STARTED = {"event_code": 1, "alias": "billing"}
PAUSED = {"event_code": 4, "alias": "billing"}
ADDED = {"event_code": 512, "jobstore": "billing", "job_id": 7, "task": "invoice"}
SUBMITTED = {"event_code": 32768, "job_id": 7, "time": NOW, "next_scheduled_run_time": NOW + 60}
EXECUTED = {"event_code": 4096, "job_id": 7, "time": NOW + 5, "return_value": "done"}
ERROR = {"event_code": 8192, "job_id": 7, "time": NOW + 6, "exception": "no", "traceback": "line 1"}
MISSED = {"event_code": 16384, "job_id": 7, "time": NOW + 7, "exception": "", "traceback": ""}
BREACHED = {"event_code": 65536, "job_id": 7, "time": NOW + 2, "next_scheduled_run_time": NOW + 60}
PARCEL = {"event_code": 512, "jobstore": "shipping", "job_id": 8, "task": "parcel 100%"}
REMIND = {"event_code": 512, "jobstore": "billing", "job_id": 9, "task": "Remind_all"}


def test_the_summary_counts(api):
    assert summary(api) == ("inactive", 0, 0, 0, 0)
    api.take(STARTED, ADDED, PARCEL)
    assert summary(api) == ("active", 2, 0, 0, 0)
    api.take(SUBMITTED)
    assert summary(api) == ("active", 2, 1, 0, 0)
    api.take(BREACHED)
    assert summary(api) == ("active", 2, 0, 1, 1)
    api.take(EXECUTED)
    assert summary(api) == ("active", 2, 0, 0, 0)
    api.take(SUBMITTED | {"time": NOW + 10}, BREACHED | {"time": NOW + 11})  # no longer than usual: it just runs
    assert summary(api) == ("active", 2, 1, 1, 0)
    api.take({"event_code": 1024, "job_id": 8})
    assert summary(api) == ("active", 1, 1, 1, 0)


def test_a_paused_scheduler_is_inactive_and_its_jobs_are_still_counted(api):
    api.take(STARTED, ADDED, PAUSED)
    assert summary(api) == ("inactive", 1, 0, 0, 0)


def window(start, end):
    return {"time_range": {"start": start * 1000, "end": end * 1000}}


def run(**expected):
    nothing = dict.fromkeys(("start", "end", "return_value", "exception", "traceback", "outcome", "duration"))
    return {**nothing, "miss_flag": False, "max_instance_count": [], **expected}


def test_the_runs_of_a_window(api):
    api.take(STARTED, ADDED, SUBMITTED, BREACHED, EXECUTED)
    found, time_range = shown_jobs(api, window(NOW - 10, NOW + 10))
    assert time_range == {"start": MS - 10_000, "end": MS + 10_000}
    (job,) = found
    events = job.pop("events")
    assert job == {"id": "7", "name": "invoice", "next_scheduled_run": MS + 60_000, "job_status": "active"}
    done = {"return_value": "done", "outcome": "succeeded", "duration": 5000}
    assert events == [run(start=MS, end=MS + 5000, max_instance_count=[MS + 2000], **done)]
    assert list(events[0])[:7] == [
        "start",
        "end",
        "return_value",
        "exception",
        "traceback",
        "miss_flag",
        "max_instance_count",
    ]


FAILED = {"end": MS + 6000, "outcome": "failed", "duration": 6000}
SKIPPED = {"exception": "", "traceback": "", "miss_flag": True, "outcome": "missed"}
KINDS = {
    "runs": ([SUBMITTED], run(start=MS)),
    "failed": ([SUBMITTED, ERROR], run(start=MS, exception="no", traceback="line 1", **FAILED)),
    "failed silently": (
        [SUBMITTED, ERROR | {"exception": None, "traceback": None}],
        run(start=MS, exception="Not captured", **FAILED),
    ),
    "missed": ([MISSED], run(start=MS + 7000, **SKIPPED)),
    "submitted and missed": ([SUBMITTED, MISSED], run(start=MS, **SKIPPED)),
    "its begin is unknown": ([EXECUTED], run(end=MS + 5000, return_value="done", outcome="succeeded")),
    "could not run": ([BREACHED], run(max_instance_count=[MS + 2000])),
    "could not run twice": (
        [SUBMITTED, BREACHED, BREACHED | {"time": NOW + 3}],
        run(start=MS, max_instance_count=[MS + 2000, MS + 3000], outcome="lost"),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run(api, kind):
    sent, expected = KINDS[kind]
    api.take(ADDED, *sent)
    assert shown_jobs(api, window(NOW - 10, NOW + 10))[0][0]["events"] == [expected]


@pytest.mark.parametrize(
    ("start", "end", "is_shown"),
    [(-10, -1, False), (-10, 0, True), (2, 3, True), (5, 10, True), (6, 10, False)],
)
def test_only_what_touches_the_window_is_shown(api, start, end, is_shown):
    api.take(ADDED, SUBMITTED, EXECUTED)
    assert bool(shown_jobs(api, window(NOW + start, NOW + end))[0]) == is_shown


def test_a_run_whose_end_was_lost_does_not_go_on_for_ever(api):
    api.take(ADDED, SUBMITTED)
    assert shown_jobs(api, window(NOW + 50, NOW + 100))[0][0]["events"] == [run(start=MS)]
    api.take(SUBMITTED | {"time": NOW + 60})
    assert shown_jobs(api, window(NOW + 50, NOW + 100))[0][0]["events"] == [run(start=MS + 60_000)]
    assert len(shown_jobs(api, window(NOW, NOW + 100))[0][0]["events"]) == 2


@pytest.mark.parametrize("body", [None, {}, {"time_range": {}}])
def test_the_window_is_the_last_ten_minutes(api, body):
    now = datetime.now(UTC).timestamp()
    api.take(ADDED, SUBMITTED | {"time": now - 700}, EXECUTED | {"time": now - 650}, SUBMITTED | {"time": now - 60})
    (job,), time_range = shown_jobs(api, body)
    assert [event["start"] for event in job["events"]] == [round((now - 60) * 1000)]
    assert time_range["end"] - time_range["start"] == 600_000
    assert abs(time_range["end"] - now * 1000) < 60_000


def logs(api, **body):
    answer = api.ask("/dashboard/logs", body)
    assert answer.status_code == 200, answer.data
    assert list(answer.json) == ["status", "message", "data", "meta"]
    return answer.json["data"], answer.json["meta"]["pagination"]


def names(entries):
    return [(entry["job_name"], entry["event_status"].removeprefix("EVENT_JOB_")) for entry in entries]


@pytest.fixture
def filled(api):
    parcel = {"job_id": 8}
    api.take(STARTED, ADDED, PARCEL, REMIND, SUBMITTED, EXECUTED, ERROR)
    api.take(SUBMITTED | parcel | {"time": NOW + 1}, MISSED | parcel, EXECUTED | {"job_id": 9, "time": None})
    return api


def test_an_entry_of_the_log(api):
    api.take(STARTED, ADDED, SUBMITTED, ERROR)
    (error, submitted), pagination = logs(api)
    assert list(error.items()) == [
        ("scheduler_name", "billing"),
        ("scheduler_status", "active"),
        ("job_id", "7"),
        ("job_name", "invoice"),
        ("job_next_schedule_run", MS + 60_000),
        ("event_status", "EVENT_JOB_ERROR"),
        ("event_time", MS + 6000),
        ("event_return_value", None),
        ("event_exception", "no"),
        ("event_traceback", "line 1"),
        ("job_status", "active"),
    ]
    assert submitted["event_time"] == MS
    assert pagination == {"current_page": 1, "per_page": 20, "total": 2, "total_pages": 1}


def test_the_log_is_shown_newest_first_and_without_a_time_before_all(filled):
    assert names(logs(filled)[0]) == [
        ("Remind_all", "EXECUTED"),
        ("parcel 100%", "MISSED"),
        ("invoice", "ERROR"),
        ("invoice", "EXECUTED"),
        ("parcel 100%", "SUBMITTED"),
        ("invoice", "SUBMITTED"),
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, 6),
        ({"filters": {}}, 6),
        ({"filters": None, "search": None}, 6),
        ({"filters": {"schedulers": [], "jobs": [], "events": [], "event_date": []}}, 6),
        ({"search": "inv"}, 3),
        ({"search": "INVOICE"}, 3),
        ({"search": "%"}, 2),
        ({"search": "d_a"}, 1),
        ({"search": "\\"}, 0),
        ({"search": "x') OR 1=1 -- "}, 0),
        ({"search": "'"}, 0),
        ({"filters": {"schedulers": ["billing"]}}, 4),
        ({"filters": {"schedulers": ["billing", "shipping"]}}, 6),
        ({"filters": {"schedulers": ["x') OR 1=1 -- "]}}, 0),
        ({"filters": {"jobs": ["invoice", "Remind_all"]}}, 4),
        ({"filters": {"jobs": ["nobody"]}}, 0),
        ({"filters": {"events": ["EVENT_JOB_SUBMITTED"]}}, 2),
        ({"filters": {"events": ["EVENT_JOB_SUBMITTED", "EVENT_JOB_ERROR"]}}, 3),
        ({"filters": {"events": ["EVENT_JOB_ADDED"]}}, 3),
        ({"filters": {"events": ["EVENT_SCHEDULER_STARTED"]}}, 1),
        ({"filters": {"events": ["'; DELETE FROM croneye_log; --"]}}, 0),
        ({"filters": {"event_date": ["2023-11-14T22:13:21Z", "2023-11-14T22:13:26Z"]}}, 3),
        ({"filters": {"event_date": [MS + 6000, None]}}, 2),
        ({"filters": {"event_date": [MS + 6000]}}, 6),
        ({"search": "inv", "filters": {"schedulers": ["billing"], "events": ["EVENT_JOB_ERROR"]}}, 1),
    ],
)
def test_the_log_is_searched_and_filtered(filled, body, expected):
    found, pagination = logs(filled, **body)
    assert len(found) == pagination["total"] == expected
    assert len(filled.log) == 10


def test_events_without_a_job_are_shown_when_they_are_asked_for(filled):
    (entry,), _ = logs(filled, filters={"events": ["EVENT_SCHEDULER_STARTED"]})
    assert (entry["scheduler_name"], entry["scheduler_status"]) == ("billing", "active")
    assert (entry["job_id"], entry["job_name"], entry["event_time"]) == (None, None, None)


@pytest.mark.parametrize(
    ("page", "size", "shown", "pages"), [(1, 2, 2, 3), (3, 2, 2, 3), (4, 2, 0, 3), (2, 5, 1, 2), (1, 6, 6, 1)]
)
def test_pages(filled, page, size, shown, pages):
    found, pagination = logs(filled, page_number=page, page_size=size)
    assert len(found) == shown
    assert pagination == {"current_page": page, "per_page": size, "total": 6, "total_pages": pages}
    everything = logs(filled)[0]
    assert found == everything[(page - 1) * size : page * size]


def test_an_empty_log_has_no_pages(api):
    assert logs(api) == ([], {"current_page": 1, "per_page": 20, "total": 0, "total_pages": 0})


@pytest.mark.parametrize("code", [4, 2], ids=["paused", "shut down"])
def test_the_history_of_a_scheduler_that_is_off_is_shown_with_its_state(filled, code):
    filled.take({"event_code": code, "alias": "billing"})
    found, pagination = logs(filled)
    assert pagination["total"] == 6
    states = {entry["scheduler_name"]: entry["scheduler_status"] for entry in found}
    assert states == {"billing": "paused" if code == 4 else "shutdown", "shipping": "active"}


def test_the_history_of_a_removed_job_is_shown_with_its_state(filled):
    filled.take({"event_code": 1024, "job_id": 7})
    assert len(logs(filled, filters={"jobs": ["invoice"]})[0]) == 3
    states = {entry["job_name"]: entry["job_status"] for entry in logs(filled)[0]}
    assert states == {"invoice": "removed", "parcel 100%": "active", "Remind_all": "active"}
    (job,) = (job for job in shown_jobs(filled, window(NOW - 10, NOW + 10))[0] if job["name"] == "invoice")
    assert job["job_status"] == "removed"
    filled.take(ADDED)
    assert {entry["job_status"] for entry in logs(filled)[0]} == {"active"}


def test_what_is_about_no_job_has_no_state_of_one(filled):
    (entry,) = logs(filled, filters={"events": ["EVENT_SCHEDULER_STARTED"]})[0]
    assert (entry["job_id"], entry["job_status"], entry["scheduler_status"]) == (None, None, "active")


def test_a_job_that_only_ran_is_called_by_its_id(api):
    api.take(EXECUTED)
    assert [(entry["job_name"], entry["scheduler_name"]) for entry in logs(api)[0]] == [("7", None)]
    assert len(logs(api, search="7")[0]) == 1
    assert shown_jobs(api, window(NOW, NOW + 10))[0][0]["name"] == "7"


def test_what_the_log_can_be_filtered_by(filled):
    data = filled.ask("/dashboard/logs/filters", method="GET").json["data"]
    assert data == {
        "schedulers": ["billing", "shipping"],
        "jobs": sorted(["invoice", "parcel 100%", "Remind_all"], key=data["jobs"].index),
        "events": [
            "EVENT_JOB_ADDED",
            "EVENT_JOB_ERROR",
            "EVENT_JOB_EXECUTED",
            "EVENT_JOB_MISSED",
            "EVENT_JOB_SUBMITTED",
            "EVENT_SCHEDULER_STARTED",
        ],
    }
    assert list(data) == ["schedulers", "jobs", "events"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *(
            ("/dashboard/logs", body)
            for body in (
                [],
                {"search": 1},
                {"search": "a\x00"},
                {"filters": []},
                {"filters": {"jobs": "invoice"}},
                {"filters": {"jobs": [None]}},
                {"filters": {"schedulers": ["\x00"]}},
                {"filters": {"events": ["x"] * 1001}},
                {"filters": {"event_date": ["yesterday", "today"]}},
                {"page_number": 0},
                {"page_number": 10**7},
                {"page_number": "1"},
                {"page_size": 0},
                {"page_size": 1001},
                {"page_size": True},
            )
        ),
        ("/dashboard/summary/jobs", {"time_range": []}),
        ("/dashboard/summary/jobs", {"time_range": {"start": "now"}}),
        ("/dashboard/summary/jobs", {"time_range": {"end": 10**15}}),
        ("/dashboard/settings", {}),
        ("/dashboard/settings", {"project_name": 1}),
        ("/dashboard/settings", {"project_name": "x" * 1001}),
    ],
)
def test_what_is_malformed_is_refused(api, path, body):
    answer = api.ask(path, body)
    assert (answer.status_code, answer.data) == (400, b'{"status":"failure","message":"Bad request","data":{}}\n')


def test_a_body_that_is_no_json_is_refused(api):
    answer = api.client.post("/croneye/api/dashboard/logs", data="{", headers=api.as_admin())
    assert answer.status_code == 400


def test_the_project_has_a_name(api):
    def ask(method, body=None):
        return api.ask("/dashboard/settings", body, method).json

    assert ask("GET") == {"status": "success", "message": "", "data": {"id": None, "project_name": None}}
    named = {"id": 1, "project_name": "Jobs"}
    assert ask("POST", {"project_name": "Jobs"}) == {"status": "success", "message": "Added settings", "data": named}
    renamed = {"id": 1, "project_name": "Cron"}
    assert ask("PATCH", renamed) == {"status": "success", "message": "Updated settings", "data": renamed}
    assert ask("GET")["data"] == renamed


@pytest.mark.parametrize("path", ["/nothing", "/auth", "/dashboard/logs/", "/openapi.json/"])
def test_unknown_paths(api, path):
    answer = api.client.get(f"/croneye/api{path}")
    assert (answer.status_code, answer.json["message"]) == (404, "Not found")


def test_browsers_may_ask_from_elsewhere(api):
    origin = {"Origin": "https://dashboards.example.com"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = api.client.options("/croneye/api/dashboard/logs", headers=origin | asked)
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Methods"] == "POST"
    assert preflight.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    refused = api.client.post("/croneye/api/dashboard/logs", headers=origin)
    for answer in (preflight, refused, api.send(headers=origin, event_code=1)):
        assert answer.headers["Access-Control-Allow-Origin"] == origin["Origin"]
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert "Origin" in answer.headers["Vary"]
    assert "Access-Control-Allow-Origin" not in api.send(event_code=0).headers
    assert api.client.options("/croneye/api/dashboard/logs").status_code == 405
