"""Authentication of callers: the token in X-Tapis-Token, and the user a service acts for.

The rules are those of Tapis's JWTValidateRequestFilter (tapis-shared-java). No network request is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from .settings import ANY, TapisSettings
from .verified_tokens import VerifiedToken, VerifiedTokens

TOKEN, OBO_TENANT, OBO_USER = "X-Tapis-Token", "X-Tapis-Tenant", "X-Tapis-User"
HEADERS = (TOKEN, OBO_TENANT, OBO_USER)
"""The request headers that identify the caller."""

_LONGEST_NAME = 60  # of a user or tenant, as the columns of subscriptions
_LONGEST_TOKEN = 16 * 1024


class UnauthorizedError(Exception):
    """The caller is refused. The text gives the reason, without the token."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request, and the user it acts for.

    Attributes:
        jwt_user: the service or user of the token.
        jwt_tenant: its tenant.
        user: the user it acts for; a user acts for themselves.
        tenant: that user's tenant. All look-ups are made in this tenant.
        is_service: True if the token is a service's.
    """

    jwt_user: str
    jwt_tenant: str
    user: str
    tenant: str
    is_service: bool

    def __str__(self) -> str:
        """Return the caller as messages name it."""
        return f"jwtTenant: {self.jwt_tenant} jwtUser: {self.jwt_user} OboTenant: {self.tenant} OboUser: {self.user}"


class Authenticator:
    """Verifies tokens, each of them once in some minutes.

    Args:
        settings: keys, tenants, and the tenants that services may act for. They do not change: a token that was
            verified with them is known to this authenticator only.
        verified: keeps verified tokens, for this authenticator alone.
    """

    def __init__(self, settings: TapisSettings, verified: VerifiedTokens | None = None) -> None:
        self._settings = settings
        self._verified = VerifiedTokens() if verified is None else verified

    def authenticate(self, headers: Mapping[str, str]) -> Caller:
        """Return the caller of a request.

        Args:
            headers: ``HEADERS`` of the request; a missing one may be empty.

        Raises:
            UnauthorizedError: the token is missing, garbled, expired, not signed by a known key or not for this
                server; or the headers that name the user the caller acts for are not valid for this caller.
        """
        token = self._verified.get(headers.get(TOKEN, ""), self._verify)
        return self._service(token, headers) if token.is_service else self._user(token, headers)

    def may_act_for(self, caller: Caller, tenant: str) -> bool:
        """Return True if the services of a caller's tenant may act for a tenant, and this tenant is served here."""
        served = self._settings.tenants
        pairs = {(caller.jwt_tenant, tenant), (caller.jwt_tenant, ANY)}
        allowed = tenant == caller.jwt_tenant or not pairs.isdisjoint(self._settings.allowed_tenants)
        return allowed and (not served or tenant in served)

    def _verify(self, text: str) -> VerifiedToken:
        claims = self._claims(text)
        if _claim(claims, "tapis/token_type") != "access":
            raise UnauthorizedError("the token is not an access token")
        tenant, user = _name(claims, "tapis/tenant_id"), _name(claims, "tapis/username")
        _check_delegation(claims)
        kind = _claim(claims, "tapis/account_type")
        if kind not in ("service", "user"):
            raise UnauthorizedError("the token's account type is neither service nor user")
        if kind == "service" and _claim(claims, "tapis/target_site") != self._settings.site:
            raise UnauthorizedError("the service's token is made for another site")
        return VerifiedToken(user, tenant, kind == "service", int(claims["exp"]))

    def _claims(self, token: str) -> dict[str, Any]:
        if not token:
            raise UnauthorizedError(f"the header {TOKEN} is missing")
        if len(token) > _LONGEST_TOKEN:
            raise UnauthorizedError("the token is too long")
        try:
            unverified = jwt.decode_complete(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, RecursionError):  # not text, or JSON nested too deep
            raise UnauthorizedError("the token is not a JWT") from None
        algorithm, tenant = unverified["header"].get("alg"), unverified["payload"].get("tapis/tenant_id")
        for key in self._keys(algorithm, tenant):
            try:
                found: dict[str, Any] = jwt.decode(
                    token,
                    key,
                    algorithms=[str(algorithm)],
                    leeway=self._settings.token_leeway,
                    options={"require": ["exp"], "verify_aud": False},
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError, OverflowError) as error:
                raise UnauthorizedError(_reason(error)) from None
            return found
        raise UnauthorizedError("the token's signature is not by a key that is known for its algorithm and tenant")

    def _keys(self, algorithm: object, tenant: object) -> list[Any]:
        """Return the keys that may verify a token. Each key is used with its own algorithm only."""
        keys = self._settings.jwt_public_key
        if algorithm == "RS256":
            return [key for owner, key in keys if owner == tenant] or [key for owner, key in keys if owner == ANY]
        return [self._settings.jwt_secret] if algorithm == "HS256" and self._settings.jwt_secret else []

    def _service(self, token: VerifiedToken, headers: Mapping[str, str]) -> Caller:
        obo_tenant, obo_user = headers.get(OBO_TENANT, "").strip(), headers.get(OBO_USER, "").strip()
        for header, name in ((OBO_TENANT, obo_tenant), (OBO_USER, obo_user)):
            if not name:
                raise UnauthorizedError(f"a service has to send the header {header}")
            if not _is_name(name):
                raise UnauthorizedError(f"the header {header} holds no name")
        caller = Caller(token.user, token.tenant, obo_user, obo_tenant, is_service=True)
        if not self.may_act_for(caller, obo_tenant):
            raise UnauthorizedError(f"services of the tenant {token.tenant} may not act for the tenant {obo_tenant}")
        return caller

    def _user(self, token: VerifiedToken, headers: Mapping[str, str]) -> Caller:
        tenant = token.tenant
        for header in (OBO_TENANT, OBO_USER):
            if headers.get(header, "").strip():
                raise UnauthorizedError(f"unexpected header {header}: only services send it")
        if tenant == self._settings.site_admin_tenant:
            raise UnauthorizedError("users of the site's administrative tenant are not let in")
        if self._settings.tenants and tenant not in self._settings.tenants:
            raise UnauthorizedError(f"the tenant {tenant} is not served here")
        return Caller(token.user, tenant, token.user, tenant, is_service=False)


def _reason(error: Exception) -> str:
    """Return the reason to refuse a token with a valid signature."""
    match error:
        case jwt.ExpiredSignatureError():
            return "the token has expired"
        case jwt.ImmatureSignatureError():
            return "the token's claim iat or nbf is later than now: the clocks differ"
        case jwt.MissingRequiredClaimError():
            return f"the token's claim {error.claim} is missing"
        case jwt.exceptions.InvalidSubjectError():
            return "the token's claim sub is not a text"
        case jwt.exceptions.InvalidJTIError():
            return "the token's claim jti is not a text"
        case jwt.InvalidIssuedAtError():
            return "the token's claim iat is not a number"
        case jwt.DecodeError():
            return "the token's claim exp or nbf is not a number"
    return "the token's claims are not valid"


def _claim(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) else None


def _name(claims: Mapping[str, Any], claim: str) -> str:
    value = _claim(claims, claim)
    if value is None or not _is_name(value):
        raise UnauthorizedError(f"the token's claim {claim} is missing or no name")
    return value


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable() and bool(text.strip())


def _check_delegation(claims: Mapping[str, Any]) -> None:
    delegation = claims.get("tapis/delegation", False)
    if not isinstance(delegation, bool):
        raise UnauthorizedError("the token's claim tapis/delegation is not a boolean")
    if delegation:
        user, at, tenant = (_claim(claims, "tapis/delegation_sub") or "").partition("@")
        if not (user and at and tenant):
            raise UnauthorizedError("the token's claim tapis/delegation_sub is not USER@TENANT")
