"""Authentication and permissions: Basic, client certificates, tokens of notifications (Pulp 2, auth docs)."""

import base64
import datetime
import http.client
import json
import logging
import socket
import ssl
import subprocess
import sys
from contextlib import closing
from functools import cache
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from werkzeug.security import generate_password_hash

from extension_kit.errors import SettingError
from extension_kit.protocol import TooManyTries, hash_password
from extension_kit.settings.declare import read_settings
from extensions.pulp import make_user, users
from extensions.pulp.settings import PulpSettings, User
from extensions.pulp.users import Credentials
from tests.extensions.pulp.api import EVENTS, HTTP, SECRET, UNKNOWN, basic
from tests.support.paths import KIT
from tests.support.servers import run_server
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
INBOX = "/pulp/notifications"
ADMIN_PASSWORD = "Gänsefüßchen: 東京!"
PASSWORD = "a:pass:word"
TOKEN = "the-token-of-notifications"
ADMIN = {"EXTENSION_PULP_ADMIN_USERNAME": "admin", "EXTENSION_PULP_ADMIN_PASSWORD": ADMIN_PASSWORD}
NOTIFICATION = {"event_type": "repo.sync.start", "payload": {"repo_id": "zoo"}, "call_report": None}
OPERATIONS = {
    "CREATE": ("POST", EVENTS, HTTP),
    "READ": ("GET", EVENTS, None),
    "UPDATE": ("PUT", f"{EVENTS}{UNKNOWN}/", {}),
    "DELETE": ("DELETE", f"{EVENTS}{UNKNOWN}/", None),
}


# What uses no table differently on another store.
on_one_store = pytest.mark.parametrize("shared_database", ["sqlite"], indirect=True)


@cache
def hashed() -> str:
    """A hash as ``EXTENSION_PULP_USERS`` may have it, checked in less than a hundredth of the usual time."""
    return generate_password_hash(PASSWORD, "scrypt:256:8:1")


def entries(hash: str | None = None, **permitted: str) -> str:
    return ", ".join(f"{name}:{hash or hashed()}:{operations}" for name, operations in permitted.items())


def with_users() -> dict[str, str]:
    return {**ADMIN, "EXTENSION_PULP_USERS": entries(reader="read", writer="create+update", remover="delete")}


def href(path: str) -> str:
    return path if path.startswith("/pulp/") else f"/pulp/api{path}"


def raw(text: str | bytes, scheme="Basic") -> dict[str, str]:
    sent = text if isinstance(text, bytes) else text.encode()
    return {"Authorization": f"{scheme} {base64.b64encode(sent).decode()}"}


def check(error, code, text, data, reason, *, method="GET", href=f"/pulp/api{EVENTS}"):
    """Check the whole document of a 401."""
    assert error == {
        "http_request_method": method,
        "exception": None,
        "traceback": None,
        "error_message": text,
        "_href": href,
        "http_status": 401,
        "error": {"code": code, "description": text, "data": data, "sub_errors": []},
        "auth_error_code": reason,
    }


def check_unauthenticated(error, **more):
    check(error, "PLP0025", "Authentication failed.", {}, "authentication_failed", **more)


def check_wrong(error, name, **more):
    text = f"Authentication with username {name} failed: invalid username or password"
    check(error, "PLP0030", text, {"user": name}, "invalid_username_or_password", **more)


def check_denied(error, name, operation, **more):
    text = f"Permission denied: user {name} cannot perform {operation}."
    check(error, "PLP0026", text, {"user": name, "operation": operation}, "permission_denied", **more)


@on_one_store
class TestBasic:
    def test_the_administrator_may_do_everything(self, make_api):
        api = make_api(**ADMIN)
        headers = basic("admin", ADMIN_PASSWORD)
        id = api.ask("POST", body=HTTP, headers=headers, status=201)["id"]
        assert [each["id"] for each in api.ask("GET", headers=headers)] == [id]
        assert api.ask("GET", f"/pulp/api{api.one(id)}", headers=headers)["id"] == id
        assert api.ask("PUT", api.one(id), {"event_types": ["*"]}, headers=headers)["event_types"] == ["*"]
        assert api.ask("GET", f"{api.one(id)}deliveries/", headers=headers) == []
        api.ask("POST", INBOX, NOTIFICATION, headers=headers)
        assert api.ask("DELETE", api.one(id), headers=headers) is None

    def test_each_user_may_do_what_is_permitted(self, make_api):
        api = make_api(**with_users())
        permitted = {"reader": {"READ"}, "writer": {"CREATE", "UPDATE"}, "remover": {"DELETE"}}
        for name, allowed in permitted.items():
            for operation, (method, path, body) in OPERATIONS.items():
                headers = basic(name, PASSWORD)
                if operation in allowed:
                    status = {"CREATE": 201, "READ": 200}.get(operation, 404)
                    api.ask(method, path, body, headers=headers, status=status)
                else:
                    error = api.ask(method, path, body, headers=headers, status=401)
                    check_denied(error, name, operation, method=method, href=href(path))

    def test_other_paths(self, make_api):
        api = make_api(EXTENSION_PULP_USERS=entries(reader="read", creator="create", updater="update"))
        one = f"{EVENTS}{UNKNOWN}/"
        for path in (one, f"/pulp/api{one}", f"{one}deliveries/", one.rstrip("/"), f"/pulp/api{EVENTS}"):
            error = api.ask("GET", path, headers=basic("creator", PASSWORD), status=401)
            check_denied(error, "creator", "READ", href=href(path))
            check_unauthenticated(api.ask("GET", path, status=401), href=href(path))
            assert api.client.head(path).status_code == 401
        error = api.ask("POST", INBOX, NOTIFICATION, headers=basic("reader", PASSWORD), status=401)
        check_denied(error, "reader", "CREATE", method="POST", href=INBOX)

    def test_a_listener_is_replaced_by_users_who_may_update_it(self, make_api):
        api = make_api(EXTENSION_PULP_USERS=entries(creator="create", both="create+update", updater="update"))
        for name, missing in (("creator", "UPDATE"), ("updater", "CREATE")):
            error = api.ask("POST", body=HTTP, headers=basic(name, PASSWORD), status=401, upsert="true")
            check_denied(error, name, missing, method="POST")
        api.ask("POST", body=HTTP, headers=basic("both", PASSWORD), status=201, upsert="true")
        api.ask("POST", body=HTTP, headers=basic("both", PASSWORD), status=400, upsert="TRUE")

    def test_without_credentials_or_with_garbled_ones(self, make_api):
        api = make_api(**with_users())
        token = base64.b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()
        for value in [
            None, "", "Basic", "Basic ", "Basic !!!", "Basic YWRtaW4", f"Basic {token[:-1]}", f"Basic {token}, {token}",
            "Basic ä", f"Basic{token}", token, f"Bearer {token}", "Digest username=admin", "OAuth oauth_token=x", ":",
        ]:  # fmt: skip
            headers = {} if value is None else {"Authorization": value}
            check_unauthenticated(api.ask("GET", headers=headers, status=401))
        for text in ("admin", b"\xff\xfe", ""):
            check_unauthenticated(api.ask("GET", headers=raw(text), status=401))
        assert "WWW-Authenticate" not in api.client.get(EVENTS).headers

    def test_the_scheme_is_read_in_any_case(self, make_api):
        api = make_api(**ADMIN)
        for scheme in ("basic", "BASIC", "Basic  "):
            api.ask("GET", headers=raw(f"admin:{ADMIN_PASSWORD}", scheme))

    def test_wrong_names_and_passwords(self, make_api):
        api = make_api(**with_users())
        for name, password in [("admin", "wrong"), ("reader", ADMIN_PASSWORD), ("nobody", PASSWORD), ("", "")]:
            check_wrong(api.ask("GET", headers=basic(name, password), status=401), name)

    @pytest.mark.parametrize("password", ["a:b", ":", "Grüße €", "🐖", " blank ", "x" * 2000])
    def test_passwords_may_be_any_text(self, make_api, password):
        variables = {**ADMIN, "EXTENSION_PULP_ADMIN_PASSWORD": password}
        api = make_api(**variables)
        api.ask("GET", headers=basic("admin", password))
        check_wrong(api.ask("GET", headers=basic("admin", password[:-1]), status=401), "admin")

    def test_text_that_is_not_ascii_in_both_encodings_of_clients(self, make_api):
        api = make_api(EXTENSION_PULP_ADMIN_USERNAME="Jürgen", EXTENSION_PULP_ADMIN_PASSWORD="Fußgänger")
        for encoding in ("utf-8", "latin-1"):
            api.ask("GET", headers=raw("Jürgen:Fußgänger".encode(encoding)))
            check_wrong(api.ask("GET", headers=raw("Jürgen:Fuß".encode(encoding)), status=401), "Jürgen")

    def test_the_body_is_not_read_before(self, make_api):
        api = make_api(**with_users())
        for method, path in (("POST", EVENTS), ("PUT", f"{EVENTS}{UNKNOWN}/"), ("POST", INBOX)):
            for body in (b"{", b"[" + b" " * 9_000_000):
                error = api.ask(method, path, body, status=401)
                check_unauthenticated(error, method=method, href=href(path))

    def test_openapi_is_public(self, make_api):
        api = make_api(**ADMIN)
        assert api.client.get("/pulp/api/openapi.json").status_code == 200
        assert api.client.options(EVENTS).status_code == 200


@on_one_store
class TestTries:
    @pytest.mark.parametrize("name", ["admin", "reader", "nobody"])
    def test_wrong_passwords_are_slowed(self, make_api, name, monkeypatch):
        monkeypatch.setattr(users, "verify_password", lambda password, hash: False)
        api = make_api(**with_users())
        for number in range(5):
            check_wrong(api.ask("GET", headers=basic(name, f"wrong {number}"), status=401), name)
        reply = api.client.get(EVENTS, headers=basic(name, "wrong"))
        assert reply.status_code == 429
        assert int(reply.headers["Retry-After"]) >= 1
        text = "Too many wrong passwords: wait, and try again"
        assert reply.json == {
            "http_request_method": "GET",
            "exception": None,
            "traceback": None,
            "error_message": text,
            "_href": f"/pulp/api{EVENTS}",
            "http_status": 429,
            "error": {"code": "PLP0000", "description": text, "data": {}, "sub_errors": []},
        }

    def test_a_process_that_checks_too_many(self, make_api, monkeypatch):
        from extension_kit.protocol import PasswordGate, PasswordsBusy

        def busy(*arguments):
            raise PasswordsBusy

        monkeypatch.setattr(PasswordGate, "check", busy)
        reply = make_api(**ADMIN).client.get(EVENTS, headers=basic("admin", ADMIN_PASSWORD))
        assert (reply.status_code, reply.headers["Retry-After"]) == (429, "1")

    def test_right_passwords_are_remembered(self, make_api, monkeypatch):
        api = make_api(**with_users())
        checked = []
        verify = users.verify_password
        monkeypatch.setattr(users, "verify_password", lambda *each: checked.append(each) or verify(*each))
        for _ in range(3):
            api.ask("GET", headers=basic("reader", PASSWORD))
            api.ask("GET", headers=basic("admin", ADMIN_PASSWORD))
        assert len(checked) == 2
        # The memory of one user's password admits neither another name nor another password.
        check_wrong(api.ask("GET", headers=basic("nobody", PASSWORD), status=401), "nobody")
        check_wrong(api.ask("GET", headers=basic("reader", ADMIN_PASSWORD), status=401), "reader")

        def refuse(*arguments):
            raise TooManyTries(30)

        monkeypatch.setattr(users.PasswordGate, "check", refuse)
        api.ask("GET", headers=basic("reader", PASSWORD))  # whatever others try meanwhile
        reply = api.client.get(EVENTS, headers=basic("reader", "wrong"))
        assert (reply.status_code, reply.headers["Retry-After"]) == (429, "30")

    def test_the_memory_is_bounded(self, make_api, monkeypatch):
        monkeypatch.setattr(users, "_MOST_REMEMBERED", 2)
        monkeypatch.setattr(users, "verify_password", lambda password, hash: True)
        api = make_api(EXTENSION_PULP_USERS=entries(reader="read"))
        (view,) = [view for name, view in api.client.application.view_functions.items() if name == "pulp.short_list"]
        views = view.__wrapped__.__closure__[0].cell_contents["GET"].__self__
        for number in range(5):
            api.ask("GET", headers=basic("reader", f"{number}"))
        assert len(views._users._remembered) == 2

    def test_unknown_names_take_as_long(self, make_api, monkeypatch):
        checked = []
        monkeypatch.setattr(users, "verify_password", lambda *each: checked.append(each) or False)
        usual = entries(hash_password(PASSWORD), reader="read")
        for variables in (ADMIN, {**ADMIN, "EXTENSION_PULP_USERS": usual}):
            api = make_api(**variables)
            for name in ("admin", "nobody"):
                del checked[:]
                api.ask("GET", headers=basic(name, "wrong"), status=401)
                ((password, hash),) = checked
                assert (password, hash.split("$")[0]) == ("wrong", "scrypt:32768:8:1")


@on_one_store
class TestWithoutUsers:
    @pytest.mark.parametrize(
        ("address", "headers", "is_served"),
        [
            ("127.0.0.1", {}, True),
            ("127.8.9.10", {}, True),
            ("::1", {}, True),
            ("::ffff:127.0.0.1", {}, True),
            ("::ffff:10.0.0.1", {}, False),
            ("10.0.0.1", {}, False),
            ("2001:db8::1", {}, False),
            ("0.0.0.0", {}, False),
            ("", {}, False),
            (None, {}, False),
            ("localhost", {}, False),
            ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, False),
            ("127.0.0.1", {"x-forwarded-proto": "https"}, False),
            ("127.0.0.1", {"X-Real-IP": "10.0.0.1"}, False),
            ("127.0.0.1", {"Forwarded": "for=10.0.0.1"}, False),
            ("127.0.0.1", {"Via": "1.1 proxy"}, False),
            ("10.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, False),
            ("10.0.0.1", basic("admin", "admin"), False),
            ("127.0.0.1", basic("admin", "admin"), True),
            ("127.0.0.1", {"Origin": "https://site.example"}, False),
            ("127.0.0.1", {"Origin": "null"}, False),
            ("127.0.0.1", {"Sec-Fetch-Site": "cross-site"}, False),
            ("127.0.0.1", {"Sec-Fetch-Site": "same-site"}, False),
            ("127.0.0.1", {"Sec-Fetch-Site": "none"}, True),
            ("127.0.0.1", {"Host": "site.example:8080"}, False),
            ("127.0.0.1", {"Host": "localhost.site.example"}, False),
            ("127.0.0.1", {"Host": "192.0.2.1:8080"}, False),
            ("127.0.0.1", {"Host": "[bad"}, False),
            ("127.0.0.1", {"Host": "LOCALHOST:8080"}, True),
            ("127.0.0.1", {"Host": "127.0.0.1:8080"}, True),
            ("::1", {"Host": "[::1]:8080"}, True),
            ("127.0.0.1", {"Host": f"{socket.gethostname()}:8080"}, True),
        ],
    )
    def test_requests_from_this_machine_only_are_served(self, api, address, headers, is_served):
        def ask(method, path, body):
            return api.client.open(
                path, method=method, json=body, headers=headers, environ_base={"REMOTE_ADDR": address}
            )

        for method, path, body in [*OPERATIONS.values(), ("POST", INBOX, NOTIFICATION)]:
            reply = ask(method, path, body)
            if is_served:
                assert reply.status_code in (200, 201, 404)
            else:
                assert reply.status_code == 401
                check_unauthenticated(reply.json, method=method, href=href(path))

    def test_a_warning_at_the_start(self, make_api, caplog):
        make_api()
        (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert "has no users: it serves requests from this machine only" in record.message
        assert "EXTENSION_PULP_ADMIN_USERNAME" in record.message
        caplog.clear()
        make_api(**ADMIN)
        make_api(EXTENSION_PULP_USERS=entries(reader="read"))
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@on_one_store
class TestToken:
    def test_a_warning_that_a_short_one_can_be_guessed(self, make_api, caplog):
        make_api(EXTENSION_PULP_TOKEN="x" * 15, **ADMIN)
        (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert record.message == "EXTENSION_PULP_TOKEN has fewer than 16 characters and can be guessed"
        caplog.clear()
        make_api(EXTENSION_PULP_TOKEN="x" * 16, **ADMIN)
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@on_one_store
class TestNotifications:
    def notify(self, api, status, headers=None, **query):
        """Send a notification from another machine."""
        reply = api.client.post(
            INBOX, json=NOTIFICATION, headers=headers, query_string=query, environ_base={"REMOTE_ADDR": "10.0.0.1"}
        )
        assert reply.status_code == status, reply.text
        return reply.json

    def test_a_token_without_users(self, make_api):
        api = make_api(EXTENSION_PULP_TOKEN=TOKEN)
        self.notify(api, 200, token=TOKEN)
        self.notify(api, 200, basic("anybody", TOKEN))
        self.notify(api, 200, basic("", TOKEN))
        for headers, query in [
            (None, {}),
            (None, {"token": ""}),
            (basic("anybody", TOKEN), {"token": "wrong"}),
            (None, {"token": TOKEN[:-1]}),
            (None, {"token": "ä\udcff".encode("utf-8", "surrogatepass")}),
            (None, {"Token": TOKEN}),
            (basic(TOKEN, "wrong"), {}),
            ({"Authorization": f"Bearer {TOKEN}"}, {}),
        ]:
            error = self.notify(api, 401, headers, **query)
            check_unauthenticated(error, method="POST", href=INBOX)
        error = api.ask("POST", INBOX, NOTIFICATION, status=401)  # from this machine, too
        check_unauthenticated(error, method="POST", href=INBOX)

    def test_a_token_opens_nothing_else(self, make_api):
        api = make_api(EXTENSION_PULP_TOKEN=TOKEN, **with_users())
        check_unauthenticated(api.ask("GET", status=401, token=TOKEN))
        check_wrong(api.ask("GET", headers=basic("admin", TOKEN), status=401), "admin")

    def test_a_token_and_users(self, make_api):
        api = make_api(EXTENSION_PULP_TOKEN=TOKEN, **with_users())
        self.notify(api, 200, token=TOKEN)
        self.notify(api, 200, basic("anybody", TOKEN))
        self.notify(api, 200, basic("writer", PASSWORD))
        for headers in (None, basic("admin", ADMIN_PASSWORD)):
            check_unauthenticated(self.notify(api, 401, headers, token="wrong"), method="POST", href=INBOX)
        check_wrong(self.notify(api, 401, basic("writer", "wrong")), "writer", method="POST", href=INBOX)
        error = self.notify(api, 401, basic("reader", PASSWORD))
        check_denied(error, "reader", "CREATE", method="POST", href=INBOX)

    def test_users_without_a_token(self, make_api):
        api = make_api(**with_users())
        self.notify(api, 200, basic("writer", PASSWORD))
        for query in ({}, {"token": ""}, {"token": "None"}):
            check_unauthenticated(self.notify(api, 401, **query), method="POST", href=INBOX)
        check_wrong(self.notify(api, 401, basic("", "")), "", method="POST", href=INBOX)

    def test_neither_token_nor_users(self, api):
        api.ask("POST", INBOX, NOTIFICATION)
        for headers, query in [(None, {}), (None, {"token": ""}), (basic("", ""), {})]:
            check_unauthenticated(self.notify(api, 401, headers, **query), method="POST", href=INBOX)

    def test_nothing_is_published_for_a_wrong_token(self, make_api):
        api = make_api(EXTENSION_PULP_TOKEN=TOKEN, **ADMIN)
        api.ask("POST", body={**HTTP, "event_types": ["*"]}, headers=basic("admin", ADMIN_PASSWORD), status=201)
        self.notify(api, 401, token="wrong")
        assert api.deliveries() == []
        self.notify(api, 200, token=TOKEN)
        assert len(api.deliveries()) == 1


class TestSettings:
    @pytest.mark.parametrize(
        ("variables", "text"),
        [
            ({"ADMIN_USERNAME": "a"}, "EXTENSION_PULP_ADMIN_PASSWORD is not set: both are needed, or neither"),
            ({"ADMIN_PASSWORD": "secret1"}, "EXTENSION_PULP_ADMIN_USERNAME is not set: both are needed, or neither"),
            ({"ADMIN_USERNAME": "a:b", "ADMIN_PASSWORD": "secret1"}, "EXTENSION_PULP_ADMIN_USERNAME has a colon"),
            ({"ADMIN_USERNAME": "a", "ADMIN_PASSWORD": "secret1", "USERS": "a:{hash}:read"}, "names the administrator"),
            ({"USERS": "a:{hash}:read,b:{hash}:read,a:{hash}:create"}, "user 'a' is there twice"),
            (
                {"USERS": "a:{hash}:read,b:{hash}:read+execute"},
                "entry 2: 'execute' is not an operation: create, ",
            ),
            ({"USERS": "a:{hash}:"}, "entry 1: '' is not an operation"),
            ({"USERS": "a:{hash}"}, "entry 1: the hash is not one that make_user.py prints"),
            ({"USERS": "a:secret1:read"}, "entry 1: the hash is not one that make_user.py prints"),
            ({"USERS": "a:scrypt:32768:8:1cut-by-a-shell:read"}, "in a shell, it needs single quotes"),
            ({"USERS": "a:scrypt:3:8:1${rest}:read"}, "entry 1: the hash is not one that make_user.py prints"),
            ({"USERS": "a:scrypt:8388608:8:1${rest}:read"}, "entry 1: the hash is not one that make_user.py prints"),
            ({"USERS": "a:scrypt:32768:0:1${rest}:read"}, "entry 1: the hash is not one that make_user.py prints"),
            ({"USERS": "a:{cut}:read"}, "entry 1: the hash is not one that make_user.py prints"),
            ({"USERS": ":{hash}:read"}, "entry 1: a name has 1 to 255 characters"),
            ({"USERS": "a b:{hash}:read"}, "entry 1: a name has 1 to 255 characters"),
            ({"USERS": "secret1"}, "entry 1: "),
        ],
    )
    def test_those_that_cannot_work(self, monkeypatch, variables, text):
        for name, value in variables.items():
            rest = hashed().partition("$")[2]
            filled = value.replace("{hash}", hashed()).replace("{rest}", rest).replace("{cut}", hashed()[:-1])
            monkeypatch.setenv(f"EXTENSION_PULP_{name}", filled)
        with pytest.raises(SettingError) as raised:
            read_settings(PulpSettings)
        assert text in str(raised.value)
        assert "EXTENSION_PULP_" in str(raised.value)
        assert "secret1" not in str(raised.value)
        assert hashed()[-100:-1] not in str(raised.value)

    def test_users(self, monkeypatch):
        monkeypatch.setenv("EXTENSION_PULP_USERS", f" a:{hashed()}:read ,\nö:{hashed()}:create+read+update+delete,,")
        assert read_settings(PulpSettings).users == (
            User("a", hashed(), frozenset({"read"})),
            User("ö", hashed(), frozenset({"create", "read", "update", "delete"})),
        )

    def test_secrets_are_not_in_reprs(self, monkeypatch):
        for name, value in {**with_users(), "EXTENSION_PULP_TOKEN": TOKEN, "EXTENSION_PULP_SECRET": SECRET}.items():
            monkeypatch.setenv(name, value)
        settings = read_settings(PulpSettings)
        shown = repr([settings, settings.users, Credentials("name", PASSWORD)])
        assert "name='reader', operations=['read']" in shown
        for secret in (ADMIN_PASSWORD, PASSWORD, TOKEN, SECRET, "scrypt"):
            assert secret not in shown


@on_one_store
def test_secrets_are_not_in_logs(make_api, caplog):
    caplog.set_level(logging.DEBUG)
    api = make_api(EXTENSION_PULP_TOKEN=TOKEN, **with_users())
    sent = [basic("admin", ADMIN_PASSWORD), basic("reader", PASSWORD), basic("reader", "wrong-one"), raw("garbled-one")]
    for headers in sent:
        api.client.get(EVENTS, headers=headers)
        api.client.post(INBOX, json=NOTIFICATION, headers=headers, query_string={"token": TOKEN})
        api.client.post(INBOX, json=NOTIFICATION, headers=headers, query_string={"token": "wrong-token"})
    assert caplog.records
    encoded = [headers["Authorization"].split()[1] for headers in sent]
    for secret in (ADMIN_PASSWORD, PASSWORD, TOKEN, "wrong-one", "wrong-token", "garbled-one", "scrypt", *encoded):
        assert secret not in caplog.text


class TestMakeUser:
    def run(self, *arguments, typed=b""):
        command = [sys.executable, str(ROOT / "extensions/pulp/make_user.py"), *arguments]
        return subprocess.run(command, input=typed, capture_output=True, cwd="/", timeout=100)

    @on_one_store
    def test_the_entry_admits_its_user(self, make_api):
        made = self.run("jörg", "read+create", typed="Grüße: ein Wort \nmore".encode())
        assert (made.returncode, made.stderr) == (0, b"")
        entry = made.stdout.decode()
        assert "Grüße" not in entry
        api = make_api(EXTENSION_PULP_USERS=entry)
        api.ask("GET", headers=basic("jörg", "Grüße: ein Wort "))
        check_wrong(api.ask("GET", headers=basic("jörg", "Grüße: ein Wort"), status=401), "jörg")
        error = api.ask("DELETE", api.one(UNKNOWN), headers=basic("jörg", "Grüße: ein Wort "), status=401)
        assert error["error"]["code"] == "PLP0026"

    @pytest.mark.parametrize(
        ("arguments", "typed", "text"),
        [
            ([], b"x", "usage: python extensions/pulp/make_user.py NAME create+read+update+delete"),
            (["a"], b"x", "usage:"),
            (["a", "read", "create"], b"x", "usage:"),
            (["a", "read,create"], b"x", "'read,create' is not an operation: create, read, update, delete are"),
            (["a:b", "read"], b"x", "a name has no colon"),
            (["a b", "read"], b"x", "a name has 1 to 255 characters, without spaces"),
            (["a", "read"], b"", "The password is empty"),
            (["a", "read"], b"\n", "The password is empty"),
            (["a", "read"], b"\xff\n", "The password is not UTF-8"),
        ],
    )
    def test_what_is_refused(self, monkeypatch, capsys, arguments, typed, text):
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(typed)))
        assert text in make_user.main(arguments)
        assert capsys.readouterr() == ("", "")

    def test_a_refusal_is_an_error_in_words(self):
        made = self.run("a", "read,create", typed=b"x")
        assert (made.returncode, made.stdout) == (1, b"")
        assert "'read,create' is not an operation: create, read, update, delete are" in made.stderr.decode()
        assert "Traceback" not in made.stderr.decode()


class TestClientCertificates:
    @pytest.fixture
    def authority(self):
        return trustme.CA()

    def certificate(self, authority, path, name):
        """Issue a certificate with a common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        signer = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(
                x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject,
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
                key.public_key(),
                x509.random_serial_number(),
            )
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(signer, hashes.SHA256())
        )
        kind = serialization.PrivateFormat.PKCS8
        written = key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
        path.write_bytes(written + certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def ask(self, server, authority, certificate, method="GET", body=None, headers=None):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        context.load_cert_chain(certificate)
        with closing(http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=context)) as connection:
            connection.request(method, EVENTS, json.dumps(body), headers or {})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())

    def test_the_common_name_names_the_user(self, authority, tmp_path):
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(tmp_path / "key.pem")
        issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        authority.cert_pem.write_to_path(tmp_path / "clients.pem")
        environment = {
            "STEADYBIT_EXTENSION_TLS_SERVER_CERT": tmp_path / "cert.pem",
            "STEADYBIT_EXTENSION_TLS_SERVER_KEY": tmp_path / "key.pem",
            "STEADYBIT_EXTENSION_TLS_CLIENT_CAS": tmp_path / "clients.pem",
            "EXTENSION_PULP_SECRET": SECRET,
            **with_users(),
        }
        command = [KIT, "serve", str(ROOT / "extensions/pulp"), "--no-worker"]
        with run_server(command, tmp_path / "log", **environment) as server:
            wait_until(lambda: server.process.poll() is None and server.health("readiness") == 200)
            reader, admin, nobody = (
                self.certificate(authority, tmp_path / f"{name}.pem", name) for name in ("reader", "admin", "nobody")
            )
            assert self.ask(server, authority, reader) == (200, [])
            status, error = self.ask(server, authority, reader, "POST", HTTP)
            assert status == 401
            check_denied(error, "reader", "CREATE", method="POST")
            assert self.ask(server, authority, admin, "POST", HTTP)[0] == 201
            status, error = self.ask(server, authority, nobody)
            assert status == 401
            text = "Authentication failed: the client certificate names no user."
            check(error, "PLP0027", text, {}, "invalid_ssl_certificate")
            # Credentials count before the certificate.
            status, error = self.ask(server, authority, admin, "POST", HTTP, basic("reader", PASSWORD))
            check_denied(error, "reader", "CREATE", method="POST")
            status, error = self.ask(server, authority, admin, headers=basic("admin", "wrong"))
            check_wrong(error, "admin")
            # Other schemes do not: Pulp looks for a user by each way that it knows.
            assert self.ask(server, authority, admin, headers={"Authorization": "Bearer x"})[0] == 200
            for secret in (ADMIN_PASSWORD, PASSWORD, SECRET, "scrypt"):
                assert secret not in server.log
