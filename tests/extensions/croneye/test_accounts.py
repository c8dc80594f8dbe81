"""Who gets to see the dashboards."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import insert

from extensions.croneye.accounts import Accounts
from extensions.croneye.answers import Refusal
from extensions.croneye.tables import users
from tests.extensions.croneye.api import EMAIL, PASSWORD, SECRET, SETTINGS, TOKEN, is_anybody_blocked
from tests.support.waiting import wait_until

PATHS = [
    ("POST", "/auth/logout"),
    ("GET", "/auth/status"),
    ("POST", "/auth/change-password"),
    ("POST", "/dashboard/summary"),
    ("POST", "/dashboard/summary/jobs"),
    ("POST", "/dashboard/logs"),
    ("GET", "/dashboard/logs/filters"),
    ("GET", "/dashboard/settings"),
    ("POST", "/dashboard/settings"),
    ("PATCH", "/dashboard/settings"),
]


@pytest.fixture
def api(api):
    """The API of a process of its own: wrong passwords are counted."""
    api.start_anew()
    return api


@pytest.fixture
def changed(api):
    """An account that the test changes."""
    api.forget_the_account()
    yield api
    api.forget_the_account()


def key(api):
    """What signs the tokens: another implementation of RFC 5869 makes the same of the secret."""
    ((salt,),) = api.rows(users, "password_hash")
    return HKDF(SHA256(), 32, salt.encode(), b"croneye tokens of logins").derive(SECRET.encode()).hex()


def test_a_login_gives_a_token_for_five_days(api):
    answer = api.log_in()
    assert (answer.status_code, list(answer.json)) == (200, ["status", "message", "auth_token"])
    claims = jwt.decode(answer.json["auth_token"], key(api), ["HS256"])
    assert claims["exp"] - claims["iat"] == timedelta(days=5).total_seconds()
    assert claims["id"] == 1


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"email": EMAIL, "password": "wrong"}, 401, "Password is not matching. Login again."),
        ({"email": EMAIL, "password": ""}, 401, "Password is not matching. Login again."),
        ({"email": "other@example.com", "password": PASSWORD}, 401, "Password is not matching. Login again."),
        ({"email": "' OR 1=1 --", "password": PASSWORD}, 401, "Password is not matching. Login again."),
        ({}, 400, "Bad request"),
        ({"email": EMAIL}, 400, "Bad request"),
        ({"email": 1, "password": 2}, 400, "Bad request"),
        ([], 400, "Bad request"),
        (None, 400, "Bad request"),
    ],
)
def test_a_login_that_fails_has_no_data(api, body, status, message):
    answer = api.client.post("/croneye/api/auth/login", json=body)
    assert (answer.status_code, answer.json) == (status, {"status": "failure", "message": message})
    assert list(answer.json) == ["status", "message"]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_nobody_gets_in_without_a_token(api, method, path):
    api.as_admin()
    for headers, status, message in [
        ({}, 400, "Provide a valid auth token"),
        ({"Authorization": "Bearer"}, 401, "Invalid token. Please login again."),
        ({"Authorization": "Bearer x.y.z"}, 401, "Invalid token. Please login again."),
        ({"Authorization": f"Token {TOKEN}"}, 401, "Invalid token. Please login again."),
    ]:
        answer = api.client.open(f"/croneye/api{path}", method=method, headers=headers, json={})
        assert (answer.status_code, answer.json) == (status, {"status": "failure", "message": message})


def test_the_word_before_the_token_does_not_matter(api):
    token = api.log_in().json["auth_token"]
    assert api.ask("/auth/status", method="GET", headers={"Authorization": f"Whatever {token}"}).status_code == 200


def test_a_token_may_come_from_a_process_whose_clock_is_ahead(api):
    api.log_in()
    now = datetime.now(UTC)
    claims = {"id": 1, "iat": now + timedelta(seconds=30), "exp": now + timedelta(days=5)}
    token = jwt.encode(claims, key(api), "HS256")
    assert api.ask("/auth/status", method="GET", headers={"Authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exp": -1}, "Signature expired. Please login again."),
        ({"key": "k" * 64}, "Invalid token. Please login again."),
        ({"algorithm": "HS512"}, "Invalid token. Please login again."),
        ({"algorithm": "none"}, "Invalid token. Please login again."),
        ({"exp": None}, "Invalid token. Please login again."),
    ],
)
def test_other_tokens_are_refused(api, change, message):
    api.log_in()
    expires = change.get("exp", 60)
    claims = {"id": 1} | ({"exp": datetime.now(UTC) + timedelta(seconds=expires)} if expires else {})
    algorithm = change.get("algorithm", "HS256")
    token = jwt.encode(claims, None if algorithm == "none" else change.get("key", key(api)), algorithm)
    answer = api.ask("/auth/status", method="GET", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json["message"]) == (401, message)


def test_a_token_of_a_user_who_is_gone(changed):
    headers = changed.as_admin()
    changed.forget_the_account()
    answer = changed.ask("/auth/status", method="GET", headers=headers)
    assert (answer.status_code, answer.json["message"]) == (404, "User does not exist")


def test_the_status_says_who_it_is(api):
    answer = api.ask("/auth/status", method="GET")
    assert list(answer.json) == ["status", "message", "data"]
    assert answer.json["data"] == {
        "id": 1,
        "username": "admin",
        "first_name": None,
        "last_name": None,
        "email": EMAIL,
        "active": True,
        "user_group": "admin",
    }


def test_logging_out(api):
    headers = api.as_admin()
    answer = api.ask("/auth/logout", headers=headers)
    assert (answer.status_code, answer.json) == (200, {"status": "success", "message": "Successfully logged out"})
    assert api.ask("/auth/status", method="GET", headers=headers).status_code == 200


def test_a_changed_password_ends_all_logins(changed):
    headers = changed.as_admin()
    change = {"current_password": "wrong", "new_password": "battery staple"}
    answer = changed.ask("/auth/change-password", change, headers=headers)
    assert (answer.status_code, answer.json["message"]) == (400, "Current password is not matching.")
    answer = changed.ask("/auth/change-password", change | {"current_password": PASSWORD}, headers=headers)
    assert (answer.status_code, answer.data) == (200, b'{"status":"success","message":"","data":{}}\n')
    assert changed.ask("/auth/status", method="GET", headers=headers).status_code == 401
    assert changed.log_in().status_code == 401
    assert changed.log_in(password="battery staple").status_code == 200


@pytest.mark.parametrize("new", ["short", "", None, 12345678, "x" * 1001])
def test_a_password_has_to_be_long_enough(api, new):
    assert api.ask("/auth/change-password", {"current_password": PASSWORD, "new_password": new}).status_code == 400
    assert api.log_in().status_code == 200


def test_a_password_is_stored_as_a_hash_only(api):
    api.log_in()
    (account,) = api.rows(users)
    assert PASSWORD not in str(account)


def test_another_password_in_the_environment_takes_effect(changed):
    accounts = Accounts(changed.kit, SETTINGS)
    accounts.log_in(EMAIL, PASSWORD, "::1")
    accounts.change_password(PASSWORD, "battery staple", "::1")
    Accounts(changed.kit, SETTINGS).log_in(EMAIL, "battery staple", "::1")  # after a restart: what was changed holds
    later = Accounts(changed.kit, replace(SETTINGS, admin_password="another one"))
    later.log_in(EMAIL, "another one", "::1")
    with pytest.raises(Refusal):
        later.log_in(EMAIL, "battery staple", "::1")


def test_another_address_in_the_environment_takes_effect(changed):
    token = Accounts(changed.kit, SETTINGS).log_in(EMAIL, PASSWORD, "::1")
    later = Accounts(changed.kit, replace(SETTINGS, admin_email="boss@example.com"))
    with pytest.raises(Refusal):
        later.admit(f"Bearer {token}")
    assert later.admit(f"Bearer {later.log_in('boss@example.com', PASSWORD, '::1')}")["username"] == "boss"


def test_without_an_administrator_nobody_gets_in(changed):
    token = Accounts(changed.kit, SETTINGS).log_in(EMAIL, PASSWORD, "::1")
    closed = Accounts(changed.kit, replace(SETTINGS, admin_email="", admin_password=""))
    for refused in (lambda: closed.log_in("", "", "::1"), lambda: closed.admit(f"Bearer {token}")):
        with pytest.raises(Refusal) as raised:
            refused()
        assert raised.value.code == 404


@pytest.mark.parametrize("session_api", ["postgresql"], indirect=True)
def test_processes_may_make_the_account_at_the_same_time(changed):
    """SQLite lets one in after the other; on PostgreSQL the second waits for what becomes of the first one's row."""
    Accounts(changed.kit, SETTINGS).log_in(EMAIL, PASSWORD, "::1")
    (account,) = changed.rows(users)
    changed.forget_the_account()
    with ThreadPoolExecutor(1) as pool:
        with changed.database.transaction() as connection:
            connection.execute(insert(users).values(dict(account)))
            waiting = pool.submit(Accounts(changed.kit, SETTINGS).log_in, EMAIL, PASSWORD, "::1")
            wait_until(lambda: is_anybody_blocked(changed))
        token = waiting.result(30)
    assert Accounts(changed.kit, SETTINGS).admit(f"Bearer {token}")["email"] == EMAIL
