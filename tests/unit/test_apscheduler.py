"""What CronEye is told of each event of APScheduler, and how one event is sent."""

import json
import logging
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate

import pytest
import trustme
from apscheduler import events as aps

from extension_kit.apscheduler import CronEyeListener
from extension_kit.apscheduler.connection import Connection
from extension_kit.apscheduler.payloads import payloads
from extension_kit.apscheduler.repeated_failures import RepeatedFailure
from extension_kit.errors import ConfigurationError
from tests.support.receivers import TIMEOUT, Receiver, reply

TOKEN = "s3cret-token"
MOMENT = 1_700_000_000_123
DUE = datetime(2023, 11, 14, 22, 13, 20, 4000, UTC)
DUE_MS = 1_700_000_000_004
NEXT = datetime(2023, 11, 15, 0, 13, 20, tzinfo=timezone(timedelta(hours=1)))
NEXT_MS = 1_700_003_600_000


class Job:
    name = "send invoices"
    next_run_time = NEXT


# Payloads

OF_SCHEDULER = {"alias": "billing", "time": MOMENT}
OF_JOB = {**OF_SCHEDULER, "job_store": "billing", "jobstore": "billing", "job_id": "j1"}
DESCRIBED = {**OF_JOB, "task": "send invoices", "next_scheduled_run_time": NEXT_MS}
RUN = {"scheduled_run_time": DUE_MS}


def about_scheduler(code, alias=None):
    return aps.SchedulerEvent(code, alias)


def about_job(code):
    return aps.JobEvent(code, "j1", "default")


def submission(code, *due):
    return aps.JobSubmissionEvent(code, "j1", "default", list(due or [DUE]))


def execution(code, **more):
    return aps.JobExecutionEvent(code, "j1", "default", DUE, **more)


ERROR = ValueError("no money")
KINDS = [
    (about_scheduler(aps.EVENT_SCHEDULER_STARTED), 1, OF_SCHEDULER),
    (about_scheduler(aps.EVENT_SCHEDULER_SHUTDOWN), 2, OF_SCHEDULER),
    (about_scheduler(aps.EVENT_SCHEDULER_PAUSED), 4, OF_SCHEDULER),
    (about_scheduler(aps.EVENT_SCHEDULER_RESUMED), 8, OF_SCHEDULER),
    (about_scheduler(aps.EVENT_EXECUTOR_ADDED, "default"), 16, OF_SCHEDULER),
    (about_scheduler(aps.EVENT_EXECUTOR_REMOVED, "default"), 32, OF_SCHEDULER),
    (about_scheduler(aps.EVENT_JOBSTORE_ADDED, "default"), 64, OF_SCHEDULER),
    (about_scheduler(aps.EVENT_JOBSTORE_REMOVED, "default"), 128, OF_SCHEDULER),
    (about_scheduler(aps.EVENT_ALL_JOBS_REMOVED, "default"), 256, OF_SCHEDULER),
    (about_job(aps.EVENT_JOB_ADDED), 512, DESCRIBED),
    (about_job(aps.EVENT_JOB_REMOVED), 1024, OF_JOB),
    (about_job(aps.EVENT_JOB_MODIFIED), 2048, DESCRIBED),
    (execution(aps.EVENT_JOB_EXECUTED, retval=42), 4096, {**OF_JOB, **RUN, "return_value": "42"}),
    (
        execution(aps.EVENT_JOB_ERROR, exception=ERROR, traceback='  File "a.py", line 1\n'),
        8192,
        {**OF_JOB, **RUN, "exception": "ValueError('no money')", "traceback": '  File "a.py", line 1\n'},
    ),
    (execution(aps.EVENT_JOB_MISSED), 16384, {**OF_JOB, **RUN, "exception": "", "traceback": ""}),
    (submission(aps.EVENT_JOB_SUBMITTED), 32768, {**DESCRIBED, **RUN}),
    (submission(aps.EVENT_JOB_MAX_INSTANCES), 65536, {**DESCRIBED, **RUN}),
]


@pytest.mark.parametrize(("event", "code", "expected"), KINDS, ids=[str(code) for _, code, _ in KINDS])
def test_each_kind_of_event(event, code, expected):
    assert payloads(event, "billing", MOMENT, Job) == [{"event_code": code, **expected}]


def test_no_kind_is_left_out():
    assert sum(code for _, code, _ in KINDS) == aps.EVENT_ALL


@pytest.mark.parametrize("code", [aps.EVENT_JOB_SUBMITTED, aps.EVENT_JOB_MAX_INSTANCES])
def test_a_submission_of_several_runs_is_told_run_by_run(code):
    sent = payloads(submission(code, DUE, DUE + timedelta(seconds=1)), "billing", MOMENT, Job)
    assert [payload["scheduled_run_time"] for payload in sent] == [DUE_MS, DUE_MS + 1000]
    assert [{**payload, **RUN} for payload in sent] == [{"event_code": code, **DESCRIBED, **RUN}] * 2


@pytest.mark.parametrize(
    ("event", "more"),
    [
        (about_job(aps.EVENT_JOB_ADDED), {"task": "j1"}),
        (about_job(aps.EVENT_JOB_MODIFIED), {}),
        (submission(aps.EVENT_JOB_SUBMITTED), {**RUN, "next_scheduled_run_time": None}),
        (submission(aps.EVENT_JOB_MAX_INSTANCES), {**RUN, "next_scheduled_run_time": None}),
    ],
    ids=["added", "modified", "submitted", "max-instances"],
)
def test_of_an_unknown_job_only_what_the_document_asks_for_is_told(event, more):
    assert payloads(event, "billing", MOMENT) == [{"event_code": event.code, **OF_JOB, **more}]


@pytest.mark.parametrize("job", [type("Paused", (Job,), {"next_run_time": None}), type("Pending", (), {"name": "a"})])
def test_a_job_without_a_next_run(job):
    (payload,) = payloads(about_job(aps.EVENT_JOB_MODIFIED), "billing", MOMENT, job)
    assert payload["next_scheduled_run_time"] is None


class Hostile:
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class NotText(str):
    def __str__(self):
        return self

    def __getitem__(self, _):
        raise RuntimeError("no part")


class HostileError(Exception):
    def __repr__(self):
        return None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        (0, "0"),
        ("Zürich ✓", "Zürich ✓"),
        ({"a": [1, None]}, "{'a': [1, None]}"),
        ("a\x00b", "a\ufffdb"),
        ("a\ud800b", "a?b"),
        (Hostile(), "<Hostile, whose str() raises RuntimeError>"),
        (NotText("a"), "<NotText, whose str() raises RuntimeError>"),
        ([Hostile()], "<list, whose str() raises RuntimeError>"),
    ],
    ids=["none", "empty", "int", "text", "dict", "nul", "surrogate", "hostile", "not-text", "hostile-inside"],
)
def test_what_a_job_returns_is_sent_as_text_whatever_it_is(value, text):
    (payload,) = payloads(execution(aps.EVENT_JOB_EXECUTED, retval=value), "billing", MOMENT)
    assert payload["return_value"] == text
    assert json.loads(json.dumps(payload).encode()) == payload


def test_an_exception_that_cannot_be_shown():
    (payload,) = payloads(execution(aps.EVENT_JOB_ERROR, exception=HostileError()), "billing", MOMENT)
    assert payload["exception"] == "<HostileError, whose repr() raises TypeError>"


@pytest.mark.parametrize("character", ["a", "é", "✓", "\U0001f600", "\x00"])
@pytest.mark.parametrize("extra", range(-3, 4))
def test_long_texts_are_cut_at_a_whole_character_tracebacks_at_their_beginning(character, extra):
    text = "<" + character * (100 // len(character.encode()) + extra) + ">"
    event = execution(aps.EVENT_JOB_ERROR, exception=ERROR, traceback=text)
    (failed,) = payloads(event, "billing", MOMENT, limit=100)
    (executed,) = payloads(execution(aps.EVENT_JOB_EXECUTED, retval=text), "billing", MOMENT, limit=100)
    shown = text.replace("\x00", "\ufffd")
    for sent, is_part in ((failed["traceback"], shown.endswith), (executed["return_value"], shown.startswith)):
        assert len(sent.encode()) <= 100
        if len(shown.encode()) > 100:
            assert len(sent.encode()) > 90
            assert sent.count("…") == 1
            assert is_part(sent.strip("…"))
        else:
            assert sent == shown


# What it is made with


def make(url="http://127.0.0.1:9", token=TOKEN, name="billing", **options):
    return CronEyeListener(url, token, name, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "ftp://croneye"}, "http:// or https://"),
        ({"url": "croneye:8080"}, "http:// or https://"),
        ({"url": "http://"}, "http:// or https://"),
        ({"url": ""}, "http:// or https://"),
        ({"url": "http://[::1"}, "cannot be read"),
        ({"url": f"http://anna:{TOKEN}@croneye"}, "no user name"),
        ({"url": f"http://croneye?token={TOKEN}"}, "no user name"),
        ({"token": ""}, "token"),
        ({"token": None}, "token"),
        ({"token": TOKEN + "\r\nX-A: b"}, "token"),
        ({"token": TOKEN + " "}, "token"),
        ({"token": TOKEN + "é"}, "token"),
        ({"name": ""}, "scheduler_name"),
        ({"name": " "}, "scheduler_name"),
        ({"name": None}, "scheduler_name"),
        ({"name": "a\x00b"}, "scheduler_name"),
        ({"name": "a\ud800"}, "scheduler_name"),
        ({"queue_size": 0}, "queue_size is 0: it has to be 1"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"max_text_bytes": 10}, "max_text_bytes is 10"),
        ({"first_retry": -1}, "first_retry is -1"),
        ({"first_retry": 5, "longest_retry": 4}, "longest_retry is 4: it has to be 5"),
        ({"give_up_after": -1}, "give_up_after is -1"),
        ({"exit_timeout": -1}, "exit_timeout is -1"),
        ({"url": "https://croneye", "ca_file": "/does/not/exist"}, '"/does/not/exist" cannot be used'),
    ],
)
def test_what_cannot_work_is_refused_without_repeating_the_token(options, said):
    with pytest.raises(ConfigurationError) as caught:
        make(**options)
    assert said in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_its_representation_names_server_and_scheduler_and_no_token():
    listener = make("http://croneye:8080/croneye/api/listener/")
    assert repr(listener) == "<CronEyeListener for 'billing' at http://croneye:8080/croneye/api/listener/event>"
    assert TOKEN not in repr(vars(listener)) + str(listener)


@pytest.mark.parametrize("hidden", ["apscheduler", "apscheduler.events"])
def test_without_apscheduler_3_the_import_says_what_to_install(hidden):
    code = f"import sys; sys.modules[{hidden!r}] = None; import extension_kit.apscheduler"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "ImportError: extension_kit.apscheduler needs APScheduler 3" in ended.stderr
    assert "pip install 'apscheduler>=3.10,<4'" in ended.stderr


def test_the_kit_does_without_it():
    code = "import sys, extension_kit; print(*(name for name in sys.modules if 'apscheduler' in name))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60).strip() == ""


# One attempt


@pytest.fixture
def receiver():
    started = []

    def start(**options):
        started.append(Receiver(**options))
        return started[-1]

    yield start
    for one in started:
        one.server.close()


def connect(receiver, path="", **options):
    url = receiver.url(path, "127.0.0.1")
    return Connection(url, TOKEN, **{"timeout": TIMEOUT, "ca_file": None, **options})


@pytest.mark.parametrize(
    ("path", "posted"),
    [
        ("", "/event"),
        ("/", "/event"),
        ("/croneye/api/listener", "/croneye/api/listener/event"),
        ("/a%20b/", "/a%20b/event"),
    ],
)
def test_an_event_is_posted_with_the_token(receiver, path, posted):
    there = receiver()
    assert connect(there, path).post(b'{"event_code": 1}').result == "delivered"
    (request,) = there.requests
    assert (request.method, request.path, request.body) == ("POST", posted, b'{"event_code": 1}')
    assert request.headers["authorization"] == f"Token {TOKEN}"
    assert request.headers["content-type"] == "application/json"


def test_a_connection_is_used_again_and_after_a_fork_another(receiver):
    there = receiver(answer=lambda request: reply(body=b'{"status": "success"}'))
    connection = connect(there)
    assert [connection.post(b"{}").result for _ in range(3)] == ["delivered"] * 3
    assert there.server.accepted == 1
    connection.renew()
    connection.post(b"{}")
    assert there.server.accepted == 2


def test_a_long_answer_is_not_read_to_its_end(receiver):
    there = receiver(answer=lambda request: reply(400, b"x" * 10_000_000))
    connection = connect(there)
    outcome = connection.post(b"{}")
    assert (outcome.result, outcome.excerpt) == ("refused", "x" * 1024)
    assert connection.post(b"{}").result == "refused"


@pytest.mark.parametrize(
    ("status", "result"),
    [
        *((status, "delivered") for status in (200, 201, 204)),
        *((status, "failed") for status in (101, 408, 425, 429, 500, 502, 503, 504, 507)),
        *((status, "refused") for status in (301, 302, 307, 308, 400, 401, 403, 404, 405, 413, 422)),
    ],
)
def test_how_answers_are_taken(receiver, status, result):
    there = receiver(answer=lambda request: reply(status, Location="/elsewhere"))
    outcome = connect(there).post(b"{}")
    assert (outcome.result, outcome.status) == (result, status)
    assert len(there.requests) == 1


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        ("999999999", 3600, 3600),
        ("9" * 5000, 3600, 3600),
        (formatdate(4102444800, usegmt=True), 3600, 3600),
    ],
)
def test_a_server_says_when_it_wants_to_be_asked_again(receiver, value, least, most):
    there = receiver(answer=lambda request: reply(503, Retry_After=value))
    assert least <= connect(there).post(b"{}").retry_after <= most


@pytest.mark.parametrize("value", [None, "soon", "0", "-1", formatdate(0), "Mon, 99 Foo 99999 99:99:99 GMT"])
def test_or_it_does_not(receiver, value):
    there = receiver(answer=lambda request: reply(503, Retry_After=value))
    assert connect(there).post(b"{}").retry_after is None


def hang_up(connection):
    connection.shutdown(2)


def silence(connection):
    connection.recv(1)


@pytest.mark.parametrize(
    ("answer", "timeout", "said"),
    [
        (hang_up, TIMEOUT, "Remote end closed connection without response"),
        (silence, 0.1, "timed out"),
        (b"nonsense\r\n\r\n", TIMEOUT, "its answer is not HTTP"),
    ],
)
def test_no_answer(receiver, answer, timeout, said):
    outcome = connect(receiver(answer=lambda request: answer), timeout=timeout).post(b"{}")
    assert outcome.result == "failed"
    assert outcome.status is None
    assert said in outcome.error


def test_no_server(receiver):
    there = receiver()
    there.server.close()
    assert connect(there).post(b"{}").error == "Connection refused"


def test_the_token_is_not_in_what_is_said_of_an_answer_or_logged(receiver, caplog):
    caplog.set_level(logging.DEBUG)
    there = receiver(answer=lambda request: reply(401, request.headers["authorization"].encode()))
    outcome = connect(there).post(b"{}")
    assert outcome.error == "it answers 401 (Token ***)"
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("trusted", [True, False])
def test_https_needs_a_certificate_of_a_trusted_authority(receiver, tmp_path, trusted):
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    (authority if trusted else other).cert_pem.write_to_path(str(ca_file))
    there = receiver(tls=context)
    outcome = connect(there, ca_file=str(ca_file)).post(b"{}")
    if trusted:
        assert outcome.result == "delivered"
    else:
        assert outcome.result == "failed"
        assert outcome.error.startswith("TLS: ")
        assert not there.requests


# Log lines of repeated failures


@pytest.fixture
def clock():
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def failure(clock):
    return RepeatedFailure(logging.getLogger("failures"), interval=60.0, clock=clock)


def test_a_failure_is_logged_once_and_its_end_once(failure, caplog):
    failure.recovered("over %s after %d", "early")
    for _ in range(3):
        failure.failed("trouble with %s", "a")
    failure.recovered("over with %s after %d", "a")
    failure.recovered("over with %s after %d", "a")
    assert caplog.messages == ["trouble with a", "over with a after 3"]


def test_a_failure_that_comes_and_goes_is_logged_once_an_interval_with_the_count_of_all(failure, clock, caplog):
    for _ in range(5):
        failure.failed("trouble")
        failure.recovered("over after %d")
    clock.now += 60
    failure.failed("trouble")
    failure.recovered("over after %d")
    assert caplog.messages == ["trouble", "over after 1", "trouble", "over after 5"]


def test_a_failure_that_begins_within_the_interval_and_stays_is_logged_after_it(failure, clock, caplog):
    failure.failed("trouble")
    failure.recovered("over after %d")
    failure.failed("trouble")
    assert len(caplog.messages) == 2
    clock.now += 60
    failure.failed("trouble")
    failure.recovered("over after %d")
    assert caplog.messages[2:] == ["trouble", "over after 2"]
