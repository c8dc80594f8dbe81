"""POST /event: what is let in, what is refused, and the answers to the letter."""

import json

import pytest
from sqlalchemy import text

from extensions.croneye.codes import Code
from extensions.croneye.log_entries import LONGEST_TEXT
from extensions.croneye.tables import log
from tests.extensions.croneye.api import OTHER_TOKEN, TOKEN, at
from tests.extensions.croneye.payloads import IMPOSSIBLE
from tests.support.spans import HEADERS, exporter, is_continued
from tests.support.waiting import wait_until

__all__ = ["exporter"]  # a fixture

SUCCESS = (200, b'{"status":"success","message":"","data":{}}\n')
BAD_REQUEST = (400, b'{"status":"failure","message":"Bad request","data":{}}\n')
UNAUTHORISED = (401, b'{"status":"failure","message":"Unauthorised user","data":{}}\n')
STARTED = {"event_code": 1, "alias": "billing"}
NOW = 1_700_000_000


def answer(response):
    assert response.content_type == "application/json"
    return response.status_code, response.data


@pytest.mark.parametrize("path", ["/event", "/croneye/api/listener/event"])
def test_an_event_is_answered_with_the_envelope_and_stored(api, path):
    assert answer(api.send(path=path, **STARTED)) == SUCCESS
    assert api.schedulers == {"billing": "active"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({}, BAD_REQUEST, id="none"),
        pytest.param({"Authorization": ""}, BAD_REQUEST, id="empty"),
        pytest.param({"Authorization": "Token wrong"}, UNAUTHORISED, id="another token"),
        pytest.param({"Authorization": "Token "}, UNAUTHORISED, id="no token"),
        pytest.param({"Authorization": f"Bearer {TOKEN}"}, UNAUTHORISED, id="another scheme"),
        pytest.param({"Authorization": f"token {TOKEN}"}, UNAUTHORISED, id="lower case"),
        pytest.param({"Authorization": TOKEN}, UNAUTHORISED, id="without a scheme"),
        pytest.param({"Authorization": f"Token {TOKEN.upper()}"}, UNAUTHORISED, id="upper case"),
        pytest.param({"Authorization": f"Token  {TOKEN}"}, UNAUTHORISED, id="two blanks"),
        pytest.param({"Authorization": f"Token {TOKEN}, {OTHER_TOKEN}"}, UNAUTHORISED, id="both"),
        pytest.param({"Authorization": "Token \xff\xfe"}, UNAUTHORISED, id="not ASCII"),
    ],
)
@pytest.mark.parametrize("body", [json.dumps(STARTED), "{", ""])
def test_who_has_no_token_is_told_so_whatever_the_body_is(api, headers, expected, body):
    assert answer(api.send(body.encode() or b" ", headers)) == expected
    assert api.is_empty


def test_an_event_is_in_the_trace_of_its_request(api, exporter):
    api.send(headers={"Authorization": f"Token {TOKEN}", **HEADERS}, **STARTED)
    assert is_continued(exporter, api.database, "POST /event")


def test_each_of_the_tokens_is_good(api):
    for token in (TOKEN, OTHER_TOKEN):
        assert answer(api.send(headers={"Authorization": f"Token {token}"}, **STARTED)) == SUCCESS


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/event/", 404, "Not found"),
        ("POST", "/croneye/api/listener/event/", 404, "Not found"),
        ("POST", "/croneye/api/listener", 404, "Not found"),
        ("GET", "/event", 405, "Method not allowed"),
        ("PUT", "/event", 405, "Method not allowed"),
    ],
)
def test_other_paths_and_methods(api, method, path, status, message):
    response = api.client.open(path, method=method, headers={"Authorization": f"Token {TOKEN}"})
    expected = f'{{"status":"failure","message":"{message}","data":{{}}}}\n'.encode()
    assert answer(response) == (status, expected)
    assert (response.headers.get("Allow") == "POST") == (status == 405)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b" ", id="empty"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"1", id="a number"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"text"', id="a text"),
        pytest.param(b"event_code=1&alias=billing", id="a form"),
        pytest.param(b'{"event_code": 1, "alias": "\xff"}', id="no UTF-8"),
        pytest.param(b'{"event_code": 1, "alias": nan}', id="nearly NaN"),
        pytest.param(b'\xef\xbb\xbf\xef\xbb\xbf{"event_code": 1, "alias": "a"}', id="two byte order marks"),
        pytest.param(b'{"event_code": 1, "alias": ' + b"[" * 50_000 + b"NaN", id="deep, and not JSON"),
        pytest.param(b'{"event_code": 4096, "job_id": 1, "return_value": ' + b"[" * 300 + b"]" * 300 + b"}", id="deep"),
    ],
)
def test_what_is_malformed_is_refused(api, body):
    assert answer(api.send(body)) == BAD_REQUEST
    assert api.is_empty


@pytest.mark.parametrize(
    ("body", "key", "kept", "told", "done"),
    [
        (b'"exception": "caf\\udce9"', "exception", "caf\ufffd", "caf\ufffd", "half a character was read as U+FFFD"),
        (b'"traceback": "a\xed\xb3\xa9b"', "traceback", "a\ufffdb", "a\ufffdb", "half a character was read as U+FFFD"),
        (b'"return_value": NaN', "return_value", None, None, "NaN or Infinity was read as null"),
        (b'"return_value": [1, -Infinity, 1e999]', "return_value", "[1,null,null]", [1, None, None], "NaN or Infinity"),
        (b'"return_value": {"\\ud83d": Infinity}', "return_value", '{"\ufffd":null}', {"\ufffd": None}, "U+FFFD"),
        # What is beside it is read as ever.
        (
            b'"return_value": [NaN, "\\ud83d\\ude00"]',
            "return_value",
            '[null,"\U0001f600"]',
            [None, "\U0001f600"],
            "NaN",
        ),
        (b'"return_value": [NaN, 1%s]' % (b"0" * 30), "return_value", "[null,1e+30]", [None, 1e30], "NaN"),
        (b'"return_value": [NaN, 18446744073709551615]', "return_value", "[null,18446744073709551615]", None, "NaN"),
        (b'"return_value": 5', "return_value", "5", 5, ""),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
def test_what_python_writes_for_json_is_taken(api, caplog, mark, body, key, kept, told, done):
    code = 4096 if key == "return_value" else 8192
    event = b'{"event_code": %d, "job_id": "in\\nvoices", "alias": "billing", "time": %d, ' % (code, NOW)
    assert answer(api.send(mark + event + body + b"}")) == SUCCESS
    assert api.rows(log, key) == [(kept,)]
    (event,) = api.events
    assert told is None or event.payload[key] == told
    assert json.loads(event.body, parse_constant=pytest.fail) == event.data
    warnings = [record.getMessage() for record in caplog.records if record.name == "extension_kit.croneye"]
    assert len(warnings) == (1 if mark or done else 0)
    for warning in warnings:
        job = "of the job 'in\\nvoices' at the scheduler 'billing'"
        assert f"Invalid JSON repaired in the body of {event.name} {job}: " in warning
        assert done in warning
        assert ("byte order mark" in warning) == bool(mark)


@pytest.mark.parametrize("payload", IMPOSSIBLE, ids=json.dumps)
def test_what_cannot_be_is_refused(api, payload):
    assert answer(api.send(**payload)) == BAD_REQUEST
    assert api.is_empty


@pytest.mark.parametrize("code", [0, 3, -1, 131071, 131072, 1.5, "1", None, [], {}, False, 10**30, "missing"], ids=repr)
def test_an_unknown_code_is_success_and_dropped(api, code):
    payload = STARTED | ({"event_code": code} if code != "missing" else {"event_code": None})
    if code == "missing":
        del payload["event_code"]
    assert answer(api.send(**payload)) == SUCCESS
    assert api.is_empty


@pytest.mark.parametrize("code", [True, 1.0, 1])
def test_codes_are_compared_as_python_does(api, code):
    assert answer(api.send(event_code=code, alias="billing")) == SUCCESS
    assert api.schedulers == {"billing": "active"}


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_the_content_type_is_not_looked_at(api, content_type):
    headers = {"Authorization": f"Token {TOKEN}", "Content-Type": content_type}
    assert answer(api.send(json.dumps(STARTED).encode(), headers)) == SUCCESS
    assert api.schedulers == {"billing": "active"}


def test_other_keys_are_ignored(api):
    assert answer(api.send(**STARTED, hello="world", time="abc", job_id=[], next_scheduled_run_time={})) == SUCCESS
    assert api.rows(log, "code", "time", "job_ref") == [(1, None, None)]


@pytest.mark.parametrize("code", [16, 32, 64, 128, 256, 2048])
@pytest.mark.parametrize("more", [{}, {"alias": None, "job_id": None, "time": "abc"}, {"alias": "default"}])
def test_what_upstream_drops_is_never_refused_and_kept(api, code, more):
    assert answer(api.send(event_code=code, **more)) == SUCCESS
    assert [entry["code"] for entry in api.log] == [code]
    assert [event.name for event in api.events] == [Code(code).event_name]


@pytest.mark.parametrize("store", ["jobstore", "job_store", "alias"])
def test_a_job_is_linked_by_either_spelling_or_by_the_alias(api, store):
    api.take(STARTED, {"event_code": 512, store: "billing", "job_id": 1, "task": "invoice"})
    assert (api.job["scheduler"], api.job["job_id"], api.job["task"]) == ("billing", "1", "invoice")
    assert api.job["is_active"]


def test_the_job_store_comes_before_the_alias(api):
    api.take({"event_code": 512, "jobstore": None, "job_store": "a", "alias": "b", "job_id": 1, "task": "t"})
    assert api.job["scheduler"] == "a"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (1, "1"),
        ("1", "1"),
        (-5, "-5"),
        (2.0, "2"),
        ("\u00e4 \u20ac \U0001f600", "\u00e4 \u20ac \U0001f600"),
        (" a/b ", " a/b "),
        ("'; DROP TABLE croneye_jobs; --", "'; DROP TABLE croneye_jobs; --"),
    ],
)
def test_ids_are_numbers_or_texts(api, given, kept):
    api.take({"event_code": 512, "jobstore": "s", "job_id": given, "task": "t"})
    assert api.job["job_id"] == kept


def test_long_ids_and_nul_characters_do_not_make_different_jobs_one(api):
    ids = ["x" * 300, "x" * 301, "a\x00", "b\x00", "a"]
    api.take(*({"event_code": 512, "jobstore": "s\x00", "job_id": id, "task": "t\x00"} for id in ids * 2))
    assert len(api.jobs) == 5
    assert {job["task"] for job in api.jobs.values()} == {"t\ufffd"}


@pytest.mark.parametrize(
    ("time", "kept"),
    [
        (None, None),
        (0, 0),
        (1234567890, 1234567890),
        (NOW * 1000, NOW),
        (NOW * 1000 + 1, NOW + 0.001),
        (NOW * 1000 + 0.7, NOW + 0.0007),
        (NOW + 0.25, NOW + 0.25),
        (str(NOW * 1000 + 1), NOW + 0.001),
        (f" {NOW}.5 ", NOW + 0.5),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T23:13:20+01:00", NOW),
        ("2023-11-14 22:13:20", NOW),
        (99_999_999_999, 99_999_999_999),
        (100_000_000_000, 100_000_000),
        (253402300799999, 253402300799.999),
    ],
)
def test_times_are_seconds_milliseconds_or_texts(api, time, kept):
    api.take({"event_code": 32768, "job_id": 1, "time": time, "next_scheduled_run_time": time})
    expected = None if kept is None else at(kept)
    assert api.rows(log, "time", "next_run") == [(expected, expected)]
    assert api.job["next_run"] == expected
    assert api.events[0].raw["payload"]["time"] == time


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        ("", ""),
        ("done", "done"),
        (5, "5"),
        (1.5, "1.5"),
        (True, "true"),
        ([1, "a"], '[1,"a"]'),
        ({"a": {"b": None}}, '{"a":{"b":null}}'),
        ("a\x00b", "a\ufffdb"),
        ("x" * 50_000, "x" * 50_000),
    ],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.parametrize("key", ["return_value", "exception", "traceback"])
def test_any_json_is_a_return_value_an_exception_and_a_traceback(api, key, value, kept):
    code = 4096 if key == "return_value" else 8192
    api.take({"event_code": code, "job_id": 1, "time": NOW, key: value})
    assert api.rows(log, key) == [(kept,)]
    (event,) = api.events
    assert event.payload[key] == value
    assert getattr(event, key) == (value if key == "return_value" else kept)


@pytest.mark.parametrize("key", ["return_value", "exception", "traceback"])
def test_of_a_long_text_the_log_keeps_the_begin_and_the_end_and_listeners_get_all(api, key):
    long = "begin" + "x" * LONGEST_TEXT + "end"
    api.take({"event_code": 4096, "job_id": 1, key: long}, {"event_code": 4096, "job_id": 1, key: long[:LONGEST_TEXT]})
    (cut,), (whole,) = api.rows(log, key)
    assert (cut[:6], cut[-4:], LONGEST_TEXT - 1 <= len(cut) <= LONGEST_TEXT) == ("beginx", "xend", True)
    assert whole == long[:LONGEST_TEXT]
    assert getattr(api.events[0], key) == long


def test_a_body_that_is_too_large_is_refused_in_the_same_form(api):
    response = api.send(event_code=4096, job_id=1, return_value="x" * 100_001)
    assert answer(response) == (413, b'{"status":"failure","message":"Request entity too large","data":{}}\n')
    assert api.is_empty


def test_a_database_that_cannot_be_written_is_a_500_in_the_same_form(api, monkeypatch):
    """As documented; upstream answers with a page of HTML. The kit's client tries again after such an answer."""
    monkeypatch.setattr("extension_kit.store.sqlite.WAIT", 0.1)
    headers = {"Authorization": f"Token {TOKEN}"}
    with api.database.transaction() as connection:
        if not api.database.is_sqlite:
            connection.execute(text("LOCK TABLE croneye_jobs IN ACCESS EXCLUSIVE MODE"))
        response = api.send(headers=headers, event_code=512, jobstore="s", job_id=1, task="t")
    assert answer(response) == (500, b'{"status":"failure","message":"Internal server error","data":{}}\n')
    assert response.headers["Retry-After"] == "1"
    assert api.is_empty
    # For a moment it counts as a database that does not answer, so that nobody else waits for it.
    wait_until(lambda: answer(api.send(event_code=512, jobstore="s", job_id=1, task="t")) == SUCCESS)


def test_an_event_that_cannot_be_published_is_not_stored_either(api, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no")

    monkeypatch.setattr("extension_kit.runtime.kit.Transaction.publish", fail)
    response = api.send(event_code=512, jobstore="s", job_id=1, task="t")
    assert answer(response) == (500, b'{"status":"failure","message":"Internal server error","data":{}}\n')
    assert api.is_empty
