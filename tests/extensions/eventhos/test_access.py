"""Access: the tokens of the management API's callers, and the keys that are sent with events."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jwt
import pytest
import time_machine

from extensions.eventhos.answers import EventhosError
from extensions.eventhos.api import Api
from extensions.eventhos.sent_events import SentEvents
from tests.extensions.eventhos.api import ADMIN, JWT_SECRET
from tests.extensions.eventhos.managing import items, new_event, new_system

WRONG_KEY = {"documented": 401202, "upstream": 401201}
WRONG_TOKEN = 401202
NO_TOKENS = ["x", "a.b.c", "....", "é.é.é", "e30.e30.e30", "x" * 5000, "a\x00"]


def bearer(token, scheme="BEARER"):
    return {"Authorization": f"{scheme} {token}"}


def signed(secret=JWT_SECRET, *, kind="user", exp=timedelta(days=1), **data):
    now = datetime.now(UTC)
    subject = {"id": 1, "subjectType": kind, "username": ADMIN["username"], **data}
    return jwt.encode({"data": subject, "iat": now, **({} if exp is None else {"exp": now + exp})}, secret, "HS256")


class Sender:
    """A client that sends events, and the check of what it sends."""

    def __init__(self, api, *, roles=(), long_live=False):
        body = {"identifier": "erp", "name": "ERP", "roles": [{"id": id} for id in roles]}
        query = {"longLive": "true"} if long_live else {}
        self.api = api
        self.made = api.ask("POST", "/auth/client", body, status=201, **query)["content"]
        self.path = f"/auth/client/{self.made['id']}"
        self.key = self.made.get("access_token", "")
        new_event(api, new_system(api, "producer", clientId=self.made["id"]))
        self.event = items(api, "/event")[0]["identifier"]

    def token(self):
        body = {"client_id": self.made["clientId"], "client_secret": self.made["clientSecret"]}
        grant = {"grant_type": "client_credentials", **body}
        return self.api.ask("POST", "/auth/token", grant, status=201, headers={})["content"]["jwt_token"]

    def new_key(self, **more):
        sent = {"longLive": True, **more}
        return self.api.ask("PUT", f"{self.path}/long-live", sent, status=201)["content"]["access_token"]

    def revoke(self, *, revoke=True):
        self.api.ask("PUT", f"{self.path}/revoke", {"revoke": revoke}, status=201)

    def check(self, key, profile="documented"):
        """Check a key as the route of events does; return None, or the status, the code and the message."""
        settings = replace(self.api.service.protocols[0].settings, profile=profile)
        sent_events = SentEvents(Api(self.api.kit, settings))
        with self.api.kit.read() as connection:
            (found,) = sent_events.find(connection, [(sent_events.keys.read(key), self.event)])
        return (found.code, found.eventhos_code, found.message) if isinstance(found, EventhosError) else None


class TestCallers:
    @pytest.mark.parametrize("scheme", ["BEARER", "Bearer", "bearer"])
    def test_the_word_before_the_token_is_in_any_case(self, api, scheme):
        assert api.ask("GET", "/auth/client", headers=bearer(api.token, scheme))["code"] == 200000

    def test_the_token_may_be_in_the_query(self, api):
        assert api.ask("GET", "/auth/client", headers={}, access_token=api.token)["code"] == 200000

    @pytest.mark.parametrize("headers", [{}, bearer(""), {"Authorization": "BEARER"}, bearer("a", "Basic")], ids=str)
    def test_without_a_token_the_answer_says_so(self, api, headers):
        message = api.refused("GET", "/auth/client", status=403, code=403002, headers=headers)
        assert message == "Subject not authorized; no jwt token was send"

    @pytest.mark.parametrize("token", NO_TOKENS)
    def test_what_is_no_token_is_refused(self, api, token):
        api.refused("GET", "/auth/client", status=401, code=400001, headers={}, access_token=token)

    @pytest.mark.parametrize(
        "token",
        [
            signed("another secret of at least 32 bytes"),
            signed(exp=None),
            signed(username="other"),
            signed(username=""),
            signed(username=None),
            signed(kind="robot"),
            signed(kind="client", id=2**62),
            *(signed(kind="client", id=id) for id in ("1", "x", [1], {}, None, True, 0, -1, 1.5, 2**63, 10**30)),
            signed(id="1"),
            jwt.encode({"exp": 2**40}, JWT_SECRET, "HS256"),
            jwt.encode({"exp": 2**40, "data": "admin"}, JWT_SECRET, "HS256"),
            jwt.encode({"exp": 2**40, "data": {}}, JWT_SECRET, "HS256"),
            jwt.encode({"exp": 2**40, "data": {"subjectType": "user", "username": "admin"}}, None, "none"),
        ],
    )
    def test_tokens_of_others_are_refused(self, api, token):
        api.refused("GET", "/auth/client", status=401, code=400001, headers=bearer(token))

    def test_a_token_tells_its_subject_and_is_valid_for_a_day(self, api):
        now = datetime.now(UTC).replace(microsecond=0)
        with time_machine.travel(now, tick=False):
            sender = Sender(api)
            user = api.ask("POST", "/auth/login", ADMIN, status=201, headers={})["content"]["jwt_token"]
            tokens = {user: {"id": 1, "subjectType": "user", "username": "admin"}}
            tokens[sender.token()] = {"id": sender.made["id"], "subjectType": "client", "identifier": "erp"}
            for token, data in tokens.items():
                assert jwt.get_unverified_header(token)["alg"] == "HS256"
                times = {"iat": int(now.timestamp()), "exp": int(now.timestamp()) + 86400}
                assert jwt.decode(token, JWT_SECRET, ["HS256"]) == {"data": data, **times}
        with time_machine.travel(now + timedelta(hours=23, minutes=59)):
            assert api.ask("GET", "/auth/client", headers=bearer(user))["code"] == 200000

    def test_a_token_expires(self, api):
        token = api.token
        with time_machine.travel(datetime.now(UTC) + timedelta(hours=24, seconds=1)):
            api.refused("GET", "/auth/client", status=401, code=400002, headers=bearer(token))

    def test_a_token_may_come_from_a_process_whose_clock_is_ahead(self, api):
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=5)):
            token = signed()
        assert api.ask("GET", "/auth/client", headers=bearer(token))["code"] == 200000

    def test_the_token_of_a_former_administrator_is_refused(self, api, make_api):
        for name in ("other", ""):
            password = "the password of another" if name else ""
            later = make_api(EXTENSION_EVENTHOS_ADMIN_USER=name, EXTENSION_EVENTHOS_ADMIN_PASSWORD=password)
            later.refused("GET", "/auth/client", status=401, code=400001, headers=bearer(api.token))

    def test_clients_may_do_what_their_roles_permit(self, api):
        admin, operator, nobody = (Sender(api, roles=roles).token() for roles in ([1], [2, 3], []))
        assert api.ask("GET", "/auth/client", headers=bearer(admin))["content"]["totalItems"] == 3
        for token in (operator, nobody):
            message = api.refused("GET", "/auth/client", status=401, code=401002, headers=bearer(token))
            assert message == "Subject not authorized; the permission OAUTH2_client:select is needed"

    def test_new_roles_count_for_old_tokens(self, api):
        sender = Sender(api)
        token = sender.token()
        api.ask("PUT", sender.path, {"roles": [{"id": 1}]}, status=201)
        assert api.ask("GET", "/auth/client", headers=bearer(token))["code"] == 200000

    def test_the_token_of_a_revoked_client_is_refused(self, api):
        sender = Sender(api, roles=[1])
        token = sender.token()
        sender.revoke()
        api.refused("GET", "/auth/client", status=403, code=403003, headers=bearer(token))
        sender.revoke(revoke=False)
        assert api.ask("GET", "/auth/client", headers=bearer(token))["code"] == 200000

    def test_the_token_of_a_deleted_client_is_refused(self, api):
        sender = Sender(api, roles=[1])
        token = sender.token()
        api.ask("DELETE", sender.path, status=201)
        api.refused("GET", "/auth/client", status=401, code=400001, headers=bearer(token))

    def test_a_key_is_no_token(self, api):
        key = Sender(api, roles=[1], long_live=True).key
        api.refused("GET", "/auth/client", status=401, code=400001, headers=bearer(key))


@pytest.mark.parametrize("profile", WRONG_KEY)
class TestKeys:
    def test_a_key_and_a_token_are_accepted(self, api, profile):
        sender = Sender(api)
        token, keys = sender.token(), [sender.new_key(), sender.new_key()]
        assert [sender.check(sent, profile) for sent in (token, *keys)] == [None] * 3

    @pytest.mark.parametrize("key", ["", "\ud800", "\U0001f511", *NO_TOKENS])
    def test_wrong_keys_are_refused_by_their_form_alone(self, api, profile, key):
        code = WRONG_TOKEN if key.count(".") == 2 else WRONG_KEY[profile]
        for sender in (Sender(api), Sender(api, long_live=True)):
            assert sender.check(key, profile) == (401, code, "Incorrect token")

    def test_every_character_of_a_key_counts(self, api, profile):
        sender = Sender(api, long_live=True)
        key = sender.key
        changed = [f"{key[:place]}~{key[place + 1 :]}" for place in (0, 20, len(key) - 1)]
        for wrong in [*changed, key[:-1], f"{key} ", f"{key}{'x' * 100}", key.swapcase()]:
            assert sender.check(wrong, profile) == (401, WRONG_KEY[profile], "Incorrect token")

    def test_a_token_that_is_changed_after_72_bytes_is_refused(self, api, profile):
        sender = Sender(api)
        token = sender.token()
        assert len(token) > 72
        assert sender.check(f"{token[:72]}{'A' * (len(token) - 72)}", profile) == (
            401,
            WRONG_KEY[profile],
            "Incorrect token",
        )

    def test_keys_and_tokens_of_others_are_refused(self, api, profile):
        sender, other, plain = Sender(api, long_live=True), Sender(api, long_live=True), Sender(api)
        assert sender.check(other.key, profile) == (401, WRONG_KEY[profile], "Incorrect token")
        for token in (plain.token(), api.token, signed(id=sender.made["id"])):
            assert sender.check(token, profile) == (401, WRONG_TOKEN, "Incorrect token")

    def test_an_expired_token_is_refused(self, api, profile):
        sender = Sender(api)
        token = sender.token()
        with time_machine.travel(datetime.now(UTC) + timedelta(hours=24, seconds=1)):
            assert sender.check(token, profile) == (401, WRONG_TOKEN, "Incorrect token")

    def test_a_key_expires(self, api, profile):
        with time_machine.travel(datetime.now(UTC), tick=False) as clock:
            sender = Sender(api)
            key, lasting = sender.new_key(expiresInDays=7), sender.new_key()
            clock.shift(timedelta(days=7) - timedelta(seconds=1))
            assert sender.check(key, profile) is None
            clock.shift(timedelta(seconds=1))
            assert sender.check(key, profile) == (401, WRONG_KEY[profile], "Incorrect token")
            assert sender.check(lasting, profile) is None

    def test_keys_are_rotated_without_a_gap(self, api, profile):
        sender = Sender(api, long_live=True)
        old, new = sender.key, sender.new_key()
        assert (sender.check(old, profile), sender.check(new, profile)) == (None, None)
        first = min(key["id"] for key in api.ask("GET", f"{sender.path}/keys")["content"]["items"])
        api.ask("DELETE", f"{sender.path}/keys/{first}", status=201)
        assert sender.check(old, profile) == (401, WRONG_KEY[profile], "Incorrect token")
        assert sender.check(new, profile) is None
        api.ask("PUT", f"{sender.path}/long-live", {"longLive": False}, status=201)
        assert sender.check(new, profile) == (401, WRONG_KEY[profile], "Incorrect token")
