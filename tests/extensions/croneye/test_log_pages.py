"""The pages of jobs and schedulers in the event log, and the facts of CronEye's events."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from sqlalchemy import insert

from extension_kit.deliveries.tables import events
from extension_kit.protocol import BadPlace, Status
from extensions.croneye import extension, job_page, scheduler_page
from extensions.croneye.event_facts import find_facts
from extensions.croneye.events import lost_event, overdue_event
from extensions.croneye.job_page import read_jobs
from extensions.croneye.lost import report_lost
from extensions.croneye.overdue import report_overdue
from extensions.croneye.scheduler_page import read_schedulers
from extensions.croneye.tables import jobs, runs
from tests.extensions.croneye.api import SETTINGS, TOKEN
from tests.support.log_clients import log_client

NOW = datetime.now(UTC)
ADDED, REMOVED, EXECUTED, ERROR, MISSED, SUBMITTED, REFUSED = 512, 1024, 4096, 8192, 16384, 32768, 65536


def ago(**length):
    return (NOW - timedelta(**length)).timestamp()


def added(job_id, task="invoice", scheduler="billing"):
    return {"event_code": ADDED, "jobstore": scheduler, "job_id": job_id, "task": task}


def submitted(job_id, at, next_run, **more):
    return {"event_code": SUBMITTED, "job_id": job_id, "time": at, "next_scheduled_run_time": next_run, **more}


def ended(code, job_id, at, **more):
    return {"event_code": code, "job_id": job_id, "time": at, **more}


@pytest.fixture(autouse=True)
def clock():
    """The clock goes on from NOW in each test, however long the tests before it took."""
    with time_machine.travel(NOW):
        yield


@pytest.fixture
def page(api):
    """Read a page: ``page(read_jobs)``."""

    def page(read, before=None, limit=50):
        with api.database.read() as connection:
            return read(connection, replace(SETTINGS, overdue_after=1800), before, limit)

    return page


@pytest.fixture
def all_pages(page):
    """Read a list from its begin to its end, some rows at a time; returns the first cells."""

    def all_pages(read, limit):
        place, found = None, []
        while True:
            table = page(read, place, limit)
            assert len(table.rows) <= limit
            found += [row[0] for row in table.rows]
            if (place := table.next) is None:
                return found

    return all_pages


def shown(table, *columns):
    """Some columns of a table, with the words of states."""
    places = [table.columns.index(column) for column in columns]
    cells = [[row[place] for place in places] for row in table.rows]
    return [tuple(cell.word if isinstance(cell, Status) else cell for cell in row) for row in cells]


def bars(table):
    return [[(bar.state, bar.begin, bar.end) for bar in row[-1].bars] for row in table.rows]


def at(**length):
    return datetime.fromtimestamp(ago(**length), UTC)


class TestJobs:
    def test_overdue_ones_come_first_then_those_whose_run_is_next(self, api, page):
        for number, next_run in enumerate([ago(hours=-2), ago(hours=1), ago(hours=-1), ago(seconds=1), ago(hours=2)]):
            api.take(added(number, f"task {number}"), submitted(number, ago(hours=3), next_run))
            api.take(ended(EXECUTED, number, ago(hours=2.9)))
        api.take(added(5, "idle"))
        table = page(read_jobs)
        assert shown(table, "Job", "Id", "Scheduler", "State", "Last run") == [
            ("task 1", "1", "billing", "overdue", "succeeded"),
            ("task 4", "4", "billing", "overdue", "succeeded"),
            ("task 3", "3", "billing", "active", "succeeded"),  # within the grace
            ("task 2", "2", "billing", "active", "succeeded"),
            ("task 0", "0", "billing", "active", "succeeded"),
            ("idle", "5", "billing", "active", None),
        ]
        assert shown(table, "Next run", "Last event")[0] == (at(hours=1), at(hours=2.9))
        assert (table.next, table.note) == (None, "")

    def test_a_reported_job_stays_overdue_until_it_runs(self, api, page):
        api.take(added(7), submitted(7, ago(hours=3), ago(hours=1)))
        api.take(ended(EXECUTED, 7, ago(hours=2.9)))
        assert report_overdue(api.kit, SETTINGS, NOW) == 1
        assert shown(page(read_jobs), "State") == [("overdue",)]
        api.take(submitted(7, ago(minutes=1), ago(hours=-1)), ended(EXECUTED, 7, ago(seconds=50)))
        assert shown(page(read_jobs), "State") == [("active",)]

    @pytest.mark.parametrize(
        ("sent", "state", "last"),
        [
            ([], "active", None),
            ([submitted(7, ago(minutes=5), ago(hours=-1))], "running", "running"),
            ([ended(ERROR, 7, ago(minutes=5))], "active", "failed"),
            ([ended(MISSED, 7, ago(minutes=5))], "active", "missed"),
            ([ended(REFUSED, 7, ago(minutes=5), next_scheduled_run_time=None)], "active", "refused"),
            ([{"event_code": 4, "alias": "billing"}], "paused", None),
            ([{"event_code": 2, "alias": "billing"}], "shutdown", None),
        ],
    )
    def test_have_the_state_of_their_last_event_or_scheduler(self, api, page, sent, state, last):
        api.take(added(7), *sent)
        assert shown(page(read_jobs), "State", "Last run") == [(state, last)]

    def test_of_a_lost_run_are_lost(self, api, page):
        api.take(added(7), submitted(7, ago(hours=3), ago(hours=2)), ended(EXECUTED, 7, ago(hours=2.9)))
        api.take(submitted(7, ago(hours=2), ago(hours=-1)))
        assert report_lost(api.kit, SETTINGS, NOW + timedelta(days=1)) == 1
        table = page(read_jobs)
        assert shown(table, "State", "Last run") == [("lost", "lost")]
        assert bars(table) == [[("succeeded", at(hours=3), at(hours=2.9)), ("lost", at(hours=2), at(hours=2))]]

    def test_of_no_scheduler_and_without_a_name_are_shown_by_their_id(self, api, page):
        api.take(submitted(7, ago(hours=3), ago(hours=-1)))
        assert shown(page(read_jobs), "Job", "Id", "Scheduler") == [("7", "7", None)]

    def test_that_were_removed_are_left_out(self, api, page):
        api.take(added(7), added(8), {"event_code": REMOVED, "job_id": 7})
        assert shown(page(read_jobs), "Id") == [("8",)]

    def test_of_a_paused_scheduler_come_behind_those_whose_run_is_to_come(self, api, page):
        api.take(added(1, "a"), submitted(1, ago(hours=3), ago(hours=1)), {"event_code": 4, "alias": "billing"})
        api.take(added(2, "b", "other"), submitted(2, ago(hours=3), ago(hours=-1)))
        assert shown(page(read_jobs), "Job") == [("b",), ("a",)]

    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_are_all_on_one_page_or_the_other(self, api, all_pages, limit):
        next_runs = [ago(hours=1), ago(hours=1), ago(hours=-1), ago(hours=-1), ago(hours=2), ago(hours=-2)]
        for number, next_run in enumerate(next_runs):
            api.take(added(number, f"{number}"), submitted(number, ago(hours=3), next_run))
        api.take(added(6, "6"), added(7, "7"))
        api.take(added(8, "8", "off"), submitted(8, ago(hours=3), ago(hours=1)), {"event_code": 4, "alias": "off"})
        assert all_pages(read_jobs, limit) == ["1", "0", "4", "2", "3", "5", "8", "6", "7"]

    def test_of_many_that_are_due_some_are_looked_at_and_the_page_says_so(self, api, page, monkeypatch):
        monkeypatch.setattr(job_page, "MOST_DUE", 2)
        for number in range(3):
            api.take(submitted(number, ago(hours=3), ago(hours=number + 1)))
        table = page(read_jobs)
        assert shown(table, "Job") == [("0",), ("1",)]
        assert table.note == "Of the jobs whose next run is due, the 2 that have become due last are shown."

    @pytest.mark.parametrize(
        "place",
        [
            "",
            "x",
            "[]",
            "{}",
            "1",
            "[4,null,1]",
            '[3,"2026-11-21T10:00:00Z",1]',
            "[0,null,1]",
            '[0,"x",1]',
            "[3,null,-1]",
            "[3,null,true]",
            "[3,null,9223372036854775808]",
            "[3,null,1e3]",
            "[[],null,1]",
        ],
    )
    def test_other_places_are_refused(self, page, place):
        with pytest.raises(BadPlace):
            page(read_jobs, place)


class TestRuns:
    def test_are_those_of_the_last_24_hours_oldest_first(self, api, page):
        api.take(added(7))
        for hours in (26, 25, 2, 1):
            api.take(submitted(7, ago(hours=hours), ago(hours=-1)))
            api.take(ended(ERROR if hours == 2 else EXECUTED, 7, ago(hours=hours - 0.5)))
        api.take(ended(MISSED, 7, ago(minutes=20)), submitted(7, ago(minutes=10), ago(hours=-1)))
        table = page(read_jobs)
        assert bars(table) == [
            [
                ("failed", at(hours=2), at(hours=1.5)),
                ("succeeded", at(hours=1), at(hours=0.5)),
                ("missed", at(minutes=20), at(minutes=20)),
                ("running", at(minutes=10), None),
            ]
        ]
        begin, end = table.period
        assert end - begin == timedelta(hours=24)
        assert end > NOW
        assert (end.second, end.microsecond) == (0, 0)

    def test_that_began_before_and_go_on_or_ended_since_are_among_them(self, api, page):
        api.take(added(7), submitted(7, ago(hours=30), None), ended(EXECUTED, 7, ago(hours=10)))
        api.take(added(8), submitted(8, ago(hours=30), None))
        assert bars(page(read_jobs)) == [
            [("succeeded", at(hours=30), at(hours=10))],
            [("running", at(hours=30), None)],
        ]

    def test_whose_end_is_unknown_are_shown_at_their_begin(self, api, page):
        api.take(added(7), submitted(7, ago(hours=3), None), submitted(7, ago(hours=2), None))
        assert bars(page(read_jobs)) == [
            [("no end", at(hours=3), at(hours=3)), ("running", at(hours=2), None)],
        ]

    def test_are_the_newest_if_there_are_many(self, api, page):
        api.take(added(7))
        (ref,) = [row["ref"] for row in api.rows(jobs)]
        begins = [NOW - timedelta(minutes=number) for number in range(300)]
        with api.database.transaction() as connection:
            connection.execute(
                insert(runs),
                [
                    {
                        "job_ref": ref,
                        "started_at": begin,
                        "ended_at": begin,
                        "outcome": "succeeded",
                        "begun_at": begin,
                        "until": begin,
                    }
                    for begin in begins
                ],
            )
        (line,) = bars(page(read_jobs))
        assert [begin for _, begin, _ in line] == begins[199::-1]


class TestSchedulers:
    def test_have_a_status_and_the_numbers_of_their_jobs(self, api, page):
        api.take({"event_code": 1, "alias": "billing", "time": ago(hours=2)}, added(1), added(2), added(3))
        api.take({"event_code": REMOVED, "job_id": 3}, submitted(1, ago(hours=1), None))
        api.take({"event_code": 4, "alias": "archive", "time": ago(hours=1)})
        table = page(read_schedulers)
        assert shown(table, "Scheduler", "Status", "Status since", "Jobs", "Running", "Lost") == [
            ("archive", "paused", at(hours=1), 0, 0, 0),
            ("billing", "active", at(hours=2), 2, 1, 0),
        ]

    def test_are_all_on_one_page_or_the_other(self, api, all_pages):
        names = ["a", "b c", " d", "é\u202e", 'f"']
        api.take(*({"event_code": 1, "alias": name} for name in names))
        assert sorted(all_pages(read_schedulers, 2)) == sorted(names)

    def test_of_many_jobs_some_are_counted(self, api, page, monkeypatch):
        monkeypatch.setattr(scheduler_page, "MOST_JOBS", 2)
        api.take(added(1), added(2), added(3))
        assert shown(page(read_schedulers), "Jobs", "Running") == [("2 or more", "0 or more")]

    @pytest.mark.parametrize("place", ["x", "[]", "[1]", '["a","b"]', "null", '["a\\u0000"]'])
    def test_other_places_are_refused(self, page, place):
        with pytest.raises(BadPlace):
            page(read_schedulers, place)


class TestFacts:
    def test_of_a_failed_run(self, api):
        api.take(added(7), submitted(7, ago(seconds=30), ago(hours=-1)))
        due = {"scheduled_run_time": ago(seconds=31), "exception": "\nno paper\nin the tray", "traceback": "hush"}
        api.take(ended(ERROR, 7, ago(seconds=10), **due))
        body = api.events[-1].raw
        assert [pair for pair in find_facts(json.dumps(body).encode()) if pair[1]] == [
            ("Job", "invoice"),
            ("Job id", "7"),
            ("Scheduler", "billing"),
            ("Scheduled for", at(seconds=31)),
            ("Exception", "no paper"),
        ]

    def test_of_an_event_with_an_impossible_time(self, api):
        api.take(ended(EXECUTED, 7, ago(seconds=10), scheduled_run_time="soon"))
        assert dict(find_facts(json.dumps(api.events[-1].raw).encode()))["Scheduled for"] is None

    def test_of_an_overdue_job_and_a_lost_run(self, api):
        overdue = dict(find_facts(overdue_event("billing", "7", None, NOW, NOW)._body))
        assert (overdue["Job id"], overdue["Next run"]) == ("7", NOW)
        lost = lost_event("billing", "7", None, None, started=NOW, due=None, now=NOW)
        assert dict(find_facts(lost._body))["Started"] == NOW


def test_the_event_log_shows_the_pages(api, monkeypatch):
    monkeypatch.setenv("EXTENSION_CRONEYE_TOKEN", TOKEN)
    api.take(added(7, "<b>invoice</b>"), submitted(7, ago(hours=3), ago(hours=1)))
    api.take(ended(ERROR, 7, ago(hours=2.5), exception="no answer of https://me:hush@host/"))
    with log_client(api.database, extension) as client:
        html = client.get("/protocols/croneye/jobs").text
        assert "&lt;b&gt;invoice&lt;/b&gt;" in html
        assert '<span class="status overdue">overdue</span>' in html
        assert len(re.findall('<rect class="failed"', html)) == 1
        assert ">Schedulers</a>" in html
        assert "billing" in client.get("/protocols/croneye/schedulers").text
        assert client.get("/protocols/croneye/jobs?before=x").status_code == 400
        assert client.get("/api/protocols/croneye/jobs").json["rows"][0][3] == "overdue"
        ref = api.rows(events)[-1]["ref"]
        facts = client.get(f"/events/{ref}").text.partition("<dl")[2].partition("</dl>")[0]
        assert "<dt>Exception</dt><dd><bdi>no answer of https://***@host/</bdi></dd>" in facts
