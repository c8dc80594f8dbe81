import base64
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from extensions.tapis.settings import ANY, TapisSettings
from extensions.tapis.tokens import Authenticator, Caller, UnauthorizedError
from tests.support.tapis_tokens import SECRET, claims, headers_of, token

KEY, OTHER_KEY, THIRD_KEY = (rsa.generate_private_key(65537, 2048) for _ in range(3))
NESTED = f"{token().partition('.')[0]}.{base64.urlsafe_b64encode(b'[' * 9000).decode()}.AAAA"
OBO = {"X-Tapis-Tenant": "dev", "X-Tapis-User": "testuser1"}


@pytest.fixture
def authenticate():
    def authenticate(headers, **settings):
        return Authenticator(TapisSettings(**{"jwt_secret": SECRET, **settings})).authenticate(headers)

    return authenticate


def refusal(authenticate, headers, **settings):
    with pytest.raises(UnauthorizedError) as caught:
        authenticate(headers, **settings)
    assert headers.get("X-Tapis-Token", "the token itself") not in str(caught.value)
    return str(caught.value)


def test_a_service_acts_for_a_user(authenticate):
    caller = authenticate(headers_of("testuser1", "dev", service="jobs"))
    assert caller == Caller("jobs", "admin", "testuser1", "dev", is_service=True)
    assert str(caller) == "jwtTenant: admin jwtUser: jobs OboTenant: dev OboUser: testuser1"


def test_a_user_acts_for_themselves(authenticate):
    assert authenticate(headers_of("testuser1", "dev")) == Caller("testuser1", "dev", "testuser1", "dev", False)


def test_empty_obo_headers_are_none(authenticate):
    headers = {**headers_of("testuser1", "dev"), "X-Tapis-Tenant": "", "X-Tapis-User": " "}
    assert authenticate(headers).user == "testuser1"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"token_type": "refresh"}, "not an access token"),
        ({"token_type": None}, "not an access token"),
        ({"account_type": "robot"}, "account type"),
        ({"account_type": None}, "account type"),
        ({"account_type": ["service"]}, "account type"),
        ({"tenant_id": None}, "tapis/tenant_id"),
        ({"tenant_id": ""}, "tapis/tenant_id"),
        ({"tenant_id": 7}, "tapis/tenant_id"),
        ({"username": None}, "tapis/username"),
        ({"username": "x" * 61}, "tapis/username"),
        ({"username": "a\x00b"}, "tapis/username"),
        ({"target_site": None}, "another site"),
        ({"target_site": "elsewhere"}, "another site"),
        ({"delegation": "yes"}, "tapis/delegation"),
        ({"delegation": True}, "tapis/delegation_sub"),
        ({"delegation": True, "delegation_sub": "nobody"}, "tapis/delegation_sub"),
        ({"exp": None}, "claim exp is missing"),
        ({"exp": "tomorrow"}, "claim exp or nbf is not a number"),
        ({"nbf": "tomorrow"}, "claim exp or nbf is not a number"),
        ({"iat": "yesterday"}, "claim iat is not a number"),
        ({"exp": int(time.time()) - 61}, "expired"),
        ({"nbf": int(time.time()) + 100_000}, "claim iat or nbf is later than now"),
        ({"iat": int(time.time()) + 100_000}, "claim iat or nbf is later than now"),
        ({"sub": 7}, "claim sub is not a text"),
        ({"jti": 7}, "claim jti is not a text"),
    ],
)
def test_wrong_claims(authenticate, changes, reason):
    assert reason in refusal(authenticate, {"X-Tapis-Token": token(**changes), **OBO})


@pytest.mark.parametrize("offsets", [{"iat": 30}, {"nbf": 30}, {"iat": 30, "nbf": 30}, {"exp": -30}], ids=str)
def test_clocks_may_differ_for_as_long_as_the_setting_says(authenticate, offsets):
    headers = {"X-Tapis-Token": token(**{claim: int(time.time()) + offset for claim, offset in offsets.items()}), **OBO}
    assert authenticate(headers).jwt_user == "jobs"
    assert refusal(authenticate, headers, token_leeway=0)


def test_right_claims_beside_the_usual_ones(authenticate):
    more = {"delegation": True, "delegation_sub": "anna@dev", "aud": "somebody", "nbf": int(time.time()) - 10}
    assert authenticate({"X-Tapis-Token": token(**more), **OBO}).jwt_user == "jobs"


@pytest.mark.parametrize(
    "text", ["", "garbage", "a.b.c", "....", "é.é.é", "x" * 20_000, token()[:-4], token() + "AAAA", NESTED]
)
def test_what_is_no_token(authenticate, text):
    with pytest.raises(UnauthorizedError):
        authenticate({"X-Tapis-Token": text, **OBO})


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("X-Tapis-Token", "X-Tapis-Token"), *((header, f"send the header {header}") for header in OBO)],
)
def test_a_service_needs_all_headers(authenticate, missing, reason):
    headers = headers_of("testuser1", "dev", service="jobs")
    del headers[missing]
    assert reason in refusal(authenticate, headers)


@pytest.mark.parametrize("header", OBO)
def test_a_user_must_not_send_obo_headers(authenticate, header):
    assert "unexpected header" in refusal(authenticate, {**headers_of("testuser1", "dev"), header: "dev"})


def test_obo_headers_have_to_be_names(authenticate):
    headers = {**headers_of("testuser1", "dev", service="jobs"), "X-Tapis-User": "x" * 61}
    assert "no name" in refusal(authenticate, headers)


def test_users_of_the_administrative_tenant(authenticate):
    assert "administrative" in refusal(authenticate, headers_of("root", "admin"))
    assert authenticate(headers_of("root", "admin"), site_admin_tenant="main").user == "root"


@pytest.mark.parametrize(
    ("tenant", "obo_tenant", "settings", "allowed"),
    [
        ("admin", "dev", {}, True),
        ("dev", "dev", {}, True),
        ("dev", "test", {}, False),
        ("dev", "test", {"allowed_tenants": frozenset({("dev", "test")})}, True),
        ("admin", "dev", {"allowed_tenants": frozenset()}, False),
        ("admin", "dev", {"tenants": frozenset({"test"})}, False),
        ("admin", "dev", {"tenants": frozenset({"dev"})}, True),
    ],
)
def test_the_tenants_a_service_may_act_for(authenticate, tenant, obo_tenant, settings, allowed):
    headers = headers_of("testuser1", obo_tenant, service="jobs", token_tenant=tenant)
    if allowed:
        assert authenticate(headers, **settings).tenant == obo_tenant
    else:
        assert "may not act" in refusal(authenticate, headers, **settings)


def test_users_of_tenants_that_are_not_served(authenticate):
    assert "not served" in refusal(authenticate, headers_of("testuser1", "dev"), tenants=frozenset({"test"}))


KEYS = ((ANY, KEY.public_key()), ("dev", OTHER_KEY.public_key()), ("dev", THIRD_KEY.public_key()))


class TestPublicKeys:
    @pytest.fixture
    def settings(self):
        return {"jwt_secret": "", "jwt_public_key": KEYS}

    def signed(self, key, tenant):
        return {"X-Tapis-Token": token("testuser1", tenant, "user", key=key, algorithm="RS256")}

    @pytest.mark.parametrize(("key", "tenant"), [(KEY, "test"), (OTHER_KEY, "dev"), (THIRD_KEY, "dev")])
    def test_each_tenant_has_its_keys(self, settings, authenticate, key, tenant):
        assert authenticate(self.signed(key, tenant), **settings).tenant == tenant

    @pytest.mark.parametrize(("key", "tenant"), [(OTHER_KEY, "test"), (KEY, "dev")])
    def test_keys_of_others_are_not_taken(self, settings, authenticate, key, tenant):
        assert "signature" in refusal(authenticate, self.signed(key, tenant), **settings)

    def test_the_secret_is_not_taken_where_there_is_none(self, settings, authenticate):
        assert "signature" in refusal(authenticate, headers_of("testuser1", "test"), **settings)

    @pytest.mark.parametrize("algorithm", ["HS256", "HS512", "none", "None", ""])
    def test_a_public_key_is_no_secret(self, settings, authenticate, algorithm):
        """The attack in which a public key, which everybody knows, is used as the secret of another algorithm."""
        public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head, body = ({"alg": algorithm, "typ": "JWT"}, claims("testuser1", "test", "user"))
        signed = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, body))
        signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        digest = base64.urlsafe_b64encode(signature.sign(signed, public)).rstrip(b"=") if algorithm == "HS256" else b""
        assert refusal(authenticate, {"X-Tapis-Token": (signed + b"." + digest).decode()}, **settings)

    def test_rs256_with_the_secret_as_key_is_not_possible(self, settings, authenticate):
        assert refusal(authenticate, self.signed(KEY, "test"))
