"""Verified tokens: each is verified once in a while, and none is good for longer than it says."""

import time
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from extensions.tapis.settings import ANY, TapisSettings
from extensions.tapis.tokens import Authenticator, UnauthorizedError
from extensions.tapis.verified_tokens import VerifiedToken, VerifiedTokens
from tests.support.tapis_tokens import SECRET, token

OBO = {"X-Tapis-Tenant": "dev", "X-Tapis-User": "testuser1"}


@dataclass
class Clock:
    """Two clocks that a test sets."""

    now: float = 1000.0
    steady: float = 50.0

    def go_on(self, seconds):
        self.now += seconds
        self.steady += seconds


@dataclass
class Verifier:
    """Verifies every text but "bad", and notes it."""

    expires: int = 2000
    verified: list = field(default_factory=list)

    def __call__(self, text):
        self.verified.append(text)
        if text == "bad":
            raise UnauthorizedError("it is bad")
        return VerifiedToken(text, "dev", True, self.expires)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def verify():
    return Verifier()


@pytest.fixture
def tokens(clock):
    return VerifiedTokens(3, 300, lambda: clock.now, lambda: clock.steady)


def test_a_token_is_verified_once(tokens, verify):
    assert [tokens.get("a", verify).user for _ in range(5)] == ["a"] * 5
    assert verify.verified == ["a"]


def test_it_is_verified_again_after_a_while(tokens, verify, clock):
    for _ in range(7):
        tokens.get("a", verify)
        clock.go_on(100)
    assert verify.verified == ["a", "a", "a"]


def test_it_is_not_kept_beyond_its_expiry(tokens, verify, clock):
    clock.now = 1990
    tokens.get("a", verify)
    clock.go_on(9.5)
    tokens.get("a", verify)
    assert verify.verified == ["a"]
    clock.go_on(0.5)
    for _ in range(2):  # its verifier lets it pass for some seconds more
        tokens.get("a", verify)
    assert verify.verified == ["a", "a", "a"]
    assert len(tokens) == 0


def test_a_clock_that_is_set_back_keeps_it_for_no_longer(tokens, verify, clock):
    tokens.get("a", verify)
    clock.steady += 300
    clock.now -= 10_000
    tokens.get("a", verify)
    assert verify.verified == ["a", "a"]


def test_what_was_refused_is_not_kept(tokens, verify):
    for _ in range(3):
        with pytest.raises(UnauthorizedError):
            tokens.get("bad", verify)
    assert verify.verified == ["bad"] * 3
    assert len(tokens) == 0


def test_the_least_recently_used_is_dropped(tokens, verify):
    for text in ("a", "b", "c", "a", "d"):
        tokens.get(text, verify)
    assert len(tokens) == 3
    for text in ("a", "c", "d"):
        tokens.get(text, verify)
    assert verify.verified == ["a", "b", "c", "d"]
    tokens.get("b", verify)
    assert verify.verified[4:] == ["b"]


def test_their_number_is_bounded(tokens, verify):
    for number in range(1000):
        tokens.get(str(number), verify)
    assert len(tokens) == 3


def test_texts_that_are_strange(tokens, verify):
    for text in ("", "\ud800", "\xe9", "x" * 100_000):
        assert tokens.get(text, verify).user == text


class TestAuthenticators:
    @pytest.fixture
    def tokens(self, clock):
        clock.now = time.time()
        return VerifiedTokens(3, 300, lambda: clock.now, lambda: clock.steady)

    def test_the_headers_count_for_every_request(self, tokens):
        authenticate = Authenticator(TapisSettings(jwt_secret=SECRET), tokens).authenticate
        headers = {"X-Tapis-Token": token(), **OBO}
        assert authenticate(headers).user == "testuser1"
        assert authenticate({**headers, "X-Tapis-User": "testuser2"}).user == "testuser2"
        with pytest.raises(UnauthorizedError, match="has to send the header"):
            authenticate({**headers, "X-Tapis-Tenant": ""})
        assert len(tokens) == 1

    def test_a_change_counts_for_every_token(self, tokens):
        keys = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
        old, new = ([(ANY, key.public_key())] for key in keys)
        headers = {"X-Tapis-Token": token(key=keys[0], algorithm="RS256"), **OBO}
        for _ in range(2):
            assert Authenticator(TapisSettings(jwt_public_key=tuple(old)), tokens).authenticate(headers)
        for settings in (
            TapisSettings(jwt_public_key=tuple(new)),
            TapisSettings(jwt_public_key=tuple(old), site="elsewhere"),
            TapisSettings(jwt_public_key=tuple(old), allowed_tenants=frozenset()),
            TapisSettings(jwt_public_key=tuple(old), tenants=frozenset({"test"})),
        ):
            with pytest.raises(UnauthorizedError):
                Authenticator(settings).authenticate(headers)

    def test_a_token_that_has_expired_is_good_within_the_leeway_only(self, tokens, clock):
        headers = {"X-Tapis-Token": token(exp=int(time.time()) - 10), **OBO}
        assert Authenticator(TapisSettings(jwt_secret=SECRET), tokens).authenticate(headers).jwt_user == "jobs"
        assert len(tokens) == 0
        with pytest.raises(UnauthorizedError, match="expired"):
            Authenticator(TapisSettings(jwt_secret=SECRET, token_leeway=5), tokens).authenticate(headers)

    def test_an_expiry_far_away(self, tokens):
        headers = {"X-Tapis-Token": token(exp=10**400), **OBO}
        for _ in range(2):
            assert Authenticator(TapisSettings(jwt_secret=SECRET), tokens).authenticate(headers).jwt_user == "jobs"
