"""Notifications that come together: each is answered as if it had come alone, on both edges and stores."""

import base64
import json
import threading

import pytest

from extensions.pulp import users
from tests.extensions.pulp.api import basic
from tests.support.refusing import refusing
from tests.support.together import Asked, ask_together

INBOX = "/pulp/notifications"
TOKEN = "the-token-of-notifications"
ADMIN = {"EXTENSION_PULP_ADMIN_USERNAME": "admin", "EXTENSION_PULP_ADMIN_PASSWORD": "correct horse"}
RIGHT = basic("admin", "correct horse")


def note(task=None, event_type="repo.sync.start", repo_id="zoo", **payload):
    report = None if task is None else {"task_id": task}
    return {"event_type": event_type, "payload": {"repo_id": repo_id, **payload}, "call_report": report}


def posted(body, headers=None, query="", path=INBOX, method="POST"):
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Asked(path, encoded, {"host": "localhost", **(headers or {})}, query, method)


CASES = {
    "token in the query": (posted(note("t1"), query=f"token={TOKEN}"), 200),
    "token as the password": (posted(note("t1"), basic("pulp", TOKEN)), 200),
    "password": (posted(note("t1"), RIGHT), 200),
    "slash at the end": (posted(note("t1"), RIGHT, path=f"{INBOX}/"), 200),
    "repaired": (
        posted(b'{"event_type": "repo.sync.start", "payload": NaN, "call_report": {"task_id": "t1"}}', RIGHT),
        200,
    ),
    "wrong password": (posted(note(), basic("admin", "wrong")), 401),
    "unknown name": (posted(note(), basic("nobody", "wrong")), 401),
    "no password": (posted(note()), 401),
    "no base64": (posted(note(), {"authorization": "Basic \xff"}), 401),
    "no colon": (posted(note(), {"authorization": f"Basic {base64.b64encode(b'a').decode()}"}), 401),
    "wrong token": (posted(note(), RIGHT, query="token=wrong"), 401),
    "first token counts": (posted(note(), RIGHT, query=f"token=a&token={TOKEN}"), 401),
    "no JSON": (posted(b"{", RIGHT), 400),
    "unknown type": (posted(note(event_type="repo.none"), RIGHT), 400),
    "too large": (posted(b" " * 9_000_000, RIGHT), 413),
    "too large, no password": (posted(b" " * 9_000_000), 401),
    "GET": (posted(b"", RIGHT, method="GET"), 405),
    "GET with a slash": (posted(b"", RIGHT, method="GET", path=f"{INBOX}/"), 405),
    "OPTIONS": (posted(b"", method="OPTIONS"), 200),
    "OPTIONS with a slash": (posted(b"", method="OPTIONS", path=f"{INBOX}/"), 200),
}


@pytest.mark.parametrize("shared_database", ["sqlite"], indirect=True)
def test_both_edges_answer_with_the_same_bytes(make_api):
    api = make_api(**ADMIN, EXTENSION_PULP_TOKEN=TOKEN)
    api.notify(call_report={"task_id": "t1"}, headers=RIGHT)  # so that it is known, whoever asks first
    left_out = {"request-id", "connection", "date", "server"}
    for name, (asked, status) in CASES.items():
        (answer,) = ask_together(api.service, asked)
        reply = api.client.open(
            asked.path, method=asked.method, data=asked.body, headers=asked.headers, query_string=asked.query
        )
        headers = {name.lower(): value for name, value in reply.headers if name.lower() not in left_out}
        assert (answer.status, answer.body) == (reply.status_code, reply.data), name
        assert {key: value for key, value in answer.headers.items() if key not in left_out} == headers, name
        assert answer.status == status, name


def test_the_client_of_a_notification_without_users_is_of_this_machine(make_api):
    api = make_api()
    local, proxied = ask_together(api.service, posted(note()), posted(note(), {"x-forwarded-for": "127.0.0.1"}))
    assert (local.status, proxied.status) == (200, 401)


def test_good_ones_and_bad_ones_in_one_group(make_api):
    """Also one that the database refuses: it harms no other."""
    api = make_api(EXTENSION_PULP_TOKEN=TOKEN)
    api.create(event_types=["*"])
    sent = [
        (note("t1", number=1), TOKEN, 200),
        (note("t2", "repo.publish.start"), TOKEN, 500),
        (b"{", TOKEN, 400),
        (note("t3"), "wrong", 401),
        (note("t4", number=2), TOKEN, 200),
    ]
    with refusing(api.database, "repo.publish.start"):
        answers = ask_together(api.service, *(posted(body, query=f"token={token}") for body, token, _ in sent))
    assert [answer.status for answer in answers] == [status for _, _, status in sent]
    assert answers[0].json == {"id": "t1/repo.sync.start", "is_new": True}
    found = [(json.loads(row.body)["payload"]["number"], row.place) for _, row in api.deliveries()]
    assert found == [(1, 1), (2, 2)]


def test_a_repetition_in_the_same_group_is_not_new(make_api):
    api = make_api(EXTENSION_PULP_TOKEN=TOKEN)
    api.create(event_types=["*"])
    sent = [note("t1"), note("t2"), note("t1"), note(), note(), note("t2")]
    answers = ask_together(api.service, *(posted(body, query=f"token={TOKEN}") for body in sent))
    assert [answer.json["is_new"] for answer in answers] == [True, True, False, True, True, False]
    assert len(api.deliveries()) == 4
    again = ask_together(api.service, *(posted(body, query=f"token={TOKEN}") for body in sent[:2]))
    assert [answer.json["is_new"] for answer in again] == [False, False]


def test_notifications_of_a_repository_keep_the_order_of_their_arrival(make_api):
    api = make_api(EXTENSION_PULP_TOKEN=TOKEN)
    api.create(event_types=["*"])
    sent = [note(f"t{number}", repo_id=f"r{number % 3}", number=number) for number in range(40)]
    ask_together(api.service, *(posted(body, query=f"token={TOKEN}") for body in sent))
    rows = [row for _, row in api.deliveries()]
    for repository in range(3):
        mine = [row for row in rows if row.subject == f"r{repository}"]
        assert [json.loads(row.body)["payload"]["number"] for row in mine] == list(range(repository, 40, 3))
        assert [row.place for row in mine] == list(range(1, len(mine) + 1))


def test_a_password_is_checked_off_the_loop(make_api, monkeypatch):
    """And remembered by each web process; what needs no check stays on the loop."""
    api = make_api(**ADMIN, EXTENSION_PULP_TOKEN=TOKEN)
    threads, verify = [], users.verify_password
    monkeypatch.setattr(
        users, "verify_password", lambda *each: threads.append(threading.current_thread()) or verify(*each)
    )
    (answer,) = ask_together(api.service, posted(note(), RIGHT))
    ask_together(api.service, posted(note(), basic("pulp", TOKEN)), posted(note(), query="token=wrong"))
    assert answer.status == 200
    assert len(threads) == 1
    assert threading.main_thread() not in threads
