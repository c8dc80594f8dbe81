"""Events that come together: each is answered and recorded as if it had come alone, on both edges and stores."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from extensions.croneye.events import event_id
from extensions.croneye.log_entries import Arrival
from extensions.croneye.payload import read
from extensions.croneye.state import record
from extensions.croneye.tables import jobs, log, runs
from tests.extensions.croneye.api import TOKEN
from tests.extensions.croneye.payloads import IMPOSSIBLE
from tests.support.refusing import refusing
from tests.support.together import Asked, ask_together

NOW = 1_700_000_000
AUTHORIZED = {"authorization": f"Token {TOKEN}"}
UPSTREAM = "/croneye/api/listener/event"
SUCCESS = b'{"status":"success","message":"","data":{}}\n'
STARTED = {"event_code": 1, "alias": "billing", "time": NOW}
REMOVED_ALL = {"event_code": 256, "alias": "billing", "time": NOW + 500}


def submitted(job_id=7, at=0, **more):
    times = {"time": NOW + at, "next_scheduled_run_time": NOW + at + 60}
    return {"event_code": 32768, "alias": "billing", "job_id": job_id, **times, **more}


def executed(job_id=7, at=0, **more):
    return {"event_code": 4096, "alias": "billing", "job_id": job_id, "time": NOW + at, "return_value": at, **more}


def posted(payload, path="/event", headers=AUTHORIZED, **more):
    return Asked(path, payload if isinstance(payload, bytes) else json.dumps(payload).encode(), headers, **more)


def take_together(api, *payloads):
    answers = ask_together(api.service, *map(posted, payloads))
    assert {(answer.status, answer.body) for answer in answers} == {(200, SUCCESS)}


CASES = {
    "good": (posted(STARTED), 200),
    "upstream's path": (posted(STARTED, UPSTREAM), 200),
    "a page of another origin": (posted(STARTED, headers={**AUTHORIZED, "origin": "https://a.example"}), 200),
    "a query": (posted(STARTED, query="a=b"), 200),
    "unknown code": (posted({"event_code": 3}), 200),
    "no JSON": (posted(b"{"), 400),
    "no JSON, from a page": (posted(b"{", headers={**AUTHORIZED, "origin": "https://a.example"}), 400),
    "empty": (posted(b""), 400),
    "no token": (posted(STARTED, headers={}), 400),
    "wrong token": (posted(STARTED, headers={"authorization": "Token wrong"}), 401),
    "a token that is not ASCII": (posted(STARTED, headers={"authorization": "Token \xff"}), 401),
    "too large": (posted(b" " * 100_001), 413),
    "too large, without a token": (posted(b" " * 100_001, headers={}), 400),
    "too large, with a wrong token": (posted(b" " * 100_001, headers={"authorization": "Token wrong"}), 401),
    "a slash at the end": (posted(STARTED, "/event/"), 404),
    "a slash at the end of upstream's path": (posted(STARTED, f"{UPSTREAM}/"), 404),
    "another method": (posted(b"", method="GET"), 405),
    "options": (posted(b"", method="OPTIONS"), 405),
    "a question of a browser": (
        posted(b"", method="OPTIONS", headers={"origin": "https://a.example", "access-control-request-method": "POST"}),
        200,
    ),
    **{json.dumps(payload): (posted(payload), 400) for payload in IMPOSSIBLE[:20]},
}


@pytest.mark.parametrize("session_api", ["sqlite"], indirect=True)
@pytest.mark.parametrize("case", CASES)
def test_both_edges_answer_with_the_same_bytes(api, case):
    asked, status = CASES[case]
    reply = api.client.open(asked.path, method=asked.method, data=asked.body, headers=asked.headers)
    (answer,) = ask_together(api.service, asked)
    left_out = {"request-id", "connection", "date", "server"}
    headers = {name.lower(): value for name, value in reply.headers if name.lower() not in left_out}
    assert (answer.status, answer.body) == (reply.status_code, reply.data)
    assert {name: value for name, value in answer.headers.items() if name not in left_out} == headers
    assert answer.status == status
    assert len(api.log) == (1 if status == 200 and asked.body and b'"event_code": 1' in asked.body else 0)


def test_good_ones_and_bad_ones_in_one_group(api):
    """Also one that the database refuses: it harms no other."""
    sent = [
        (posted(submitted(at=0)), 200),
        (posted(submitted(), headers={}), 400),
        (posted({"event_code": 8192, "alias": "billing", "job_id": 8, "time": NOW}), 500),
        (posted(b"{"), 400),
        (posted(executed(at=5)), 200),
        (posted(executed(9, time="abc")), 400),
    ]
    with refusing(api.database, "croneye.job.error"):
        answers = ask_together(api.service, *(asked for asked, _ in sent))
    assert [answer.status for answer in answers] == [status for _, status in sent]
    assert answers[2].body == b'{"status":"failure","message":"Internal server error","data":{}}\n'
    assert api.runs == [(NOW, NOW + 5, "succeeded")]
    assert set(api.jobs) == {"7"}
    assert [event.name for event in api.events] == ["croneye.job.submitted", "croneye.job.executed"]


def test_a_repetition_in_the_same_group_counts_once(api):
    take_together(api, submitted(), submitted(), STARTED, executed(at=5), STARTED, submitted(), executed(at=5))
    assert sorted(event.name for event in api.events) == [
        "croneye.job.executed",
        "croneye.job.submitted",
        "croneye.scheduler.started",
    ]
    take_together(api, submitted(), STARTED, executed(at=6))
    assert len(api.log) == len(api.events) == 4


def test_events_of_a_job_are_published_in_the_order_of_their_arrival(api):
    codes = [512, 1024] * 20
    take_together(
        api, *({"event_code": code, "jobstore": "s", "job_id": n % 2, "task": str(n)} for n, code in enumerate(codes))
    )
    for job in "01":
        tasks = [event.payload["task"] for event in api.events if event.job_id == job]
        assert tasks == [str(n) for n in range(40) if n % 2 == int(job)]


def test_a_job_that_is_added_in_a_group_in_which_its_scheduler_removes_all(api):
    def added(job_id, at):
        return {"event_code": 512, "alias": "billing", "job_id": job_id, "task": "t", "time": NOW + at}

    api.take(added("stored", 0), added("touched", 0), added("added again", 0))
    together = [added("new", 1), submitted("touched", 400), REMOVED_ALL, added("added again", 600), added("later", 700)]
    take_together(api, *together)
    assert {job_id: job["is_active"] for job_id, job in api.jobs.items()} == {
        "stored": False,
        "touched": False,
        "new": False,
        "added again": True,
        "later": True,
    }


def test_a_refusal_finds_the_run_that_began_in_its_group(api):
    blocked = {"event_code": 65536, "alias": "billing", "job_id": 7, "next_scheduled_run_time": None}
    take_together(api, submitted(at=0), {**blocked, "time": NOW + 100}, {**blocked, "time": NOW + 160})
    assert [event.name for event in api.events].count("croneye.job.lost") == 1
    assert (api.job["running_since"], api.job["lost_since"]) == (None, datetime.fromtimestamp(NOW, UTC))


def made_up(seed):
    """Events of a few jobs of a few schedulers, in any order, some of them repeated."""
    random = Random(seed)

    def one():
        at = random.randrange(100)
        job = {"job_id": random.choice(["a", "b"]), "time": NOW + at, "task": random.choice(["t", "u"])}
        if random.random() < 0.7:
            job["alias"] = random.choice(["x", "y"])
        if random.random() < 0.5:
            job["scheduled_run_time"] = NOW + at // 10 * 10
        code = random.choice([512, 1024, 2048, 4096, 4096, 8192, 16384, 32768, 32768, 32768, 65536, 1, 2, 4, 256, 16])
        if code in (1, 2, 4, 256, 16):
            return {"event_code": code, "alias": random.choice(["x", "y"]), "time": NOW + at}
        if code in (32768, 65536, 2048):
            job["next_scheduled_run_time"] = NOW + at + 60
        return {"event_code": code, **job}

    sent = [one() for _ in range(60)]
    return [*sent, *random.sample(sent, 10)]


def state(api):
    """What was recorded and published, without what differs from time to time."""
    named = {row["ref"]: (row["scheduler"], row["job_id"]) for row in api.rows(jobs)}
    numbers = {row["ref"]: (row["code"], row["time"]) for row in api.rows(log)}
    left_out = {"ref", "seen_at", "overdue_for"}
    found_runs = sorted(
        (
            named[row["job_ref"]],
            *(str(row[name]) for name in ("due_at", "started_at", "ended_at", "outcome", "begun_at", "until")),
            str(numbers.get(row["ended_log"])),
            row["lost_at"] is None,
            row["lost_from"] is None,
        )
        for row in api.rows(runs)
    )
    return (
        [{key: value for key, value in row.items() if key not in left_out} for row in api.rows(jobs)],
        found_runs,
        [(row["code"], row["scheduler"], named.get(row["job_ref"]), row["time"]) for row in api.rows(log)],
        api.schedulers,
        [(event.name, event.subject, event.task, event.duration, event.started) for event in api.events],
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_group_does_what_its_events_do_one_after_the_other(api, seed):
    sent = made_up(seed)
    api.take(*sent)
    alone = state(api)
    assert len(alone[1]) > 5
    api.clear()
    take_together(api, *sent[:35])
    take_together(api, *sent[35:])
    assert state(api) == alone


def test_groups_of_many_processes_do_not_lock_in_a_ring(api):
    sent = [json.dumps(payload).encode() for seed in range(20, 24) for payload in made_up(seed)]

    def write(seed):
        random = Random(seed)
        for _ in range(15):
            arrivals = []
            for body in random.sample(sent, 15):
                if (event := read(body)) is not None:
                    arrivals.append(Arrival(event, event_id(event, body), datetime.now(UTC)))
            with api.kit.transaction() as transaction:
                record(transaction, arrivals, timedelta(seconds=60))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, seed) for seed in range(4)]:
            done.result(120)
    assert len({row["event_id"] for row in api.log}) == len(api.log)
    assert len(api.events) >= len(api.log)
