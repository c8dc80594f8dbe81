"""Settings of the Tapis extension, and the parsers of their values."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from extension_kit.protocol import MOST_WAITS, SCHEDULE, SECRET, Kind, Schedule, SettingError, seconds, setting

PublicKeys = tuple[tuple[str, RSAPublicKey], ...]
"""Public keys that verify tokens, each with its tenant; ``ANY``: all tenants without a key of their own."""

ANY = "*"


class Words(frozenset[str]):
    """Names; ``str`` gives them in the form of the setting."""

    def __str__(self) -> str:
        """Return ``a,b``."""
        return ",".join(sorted(self))


class AllowedTenants(frozenset[tuple[str, str]]):
    """Pairs of a tenant and one that its services may act for; ``ANY``: all."""

    def __str__(self) -> str:
        """Return ``admin=*,dev=test``."""
        return ",".join(f"{tenant}={other}" for tenant, other in sorted(self))


_LEAST_KEY_BITS = 2048  # RFC 7518, section 3.3
_PEM = re.compile(r"(?:([^\s:]{1,60}):\s*)?(-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----)\s*", re.DOTALL)
_ADMIN = re.compile(r"[^@\s,]+@[^@\s,]+")
_TENANT = re.compile(r"[^\s,;:=+*]{1,60}")
_URL = re.compile(r"https?://[^\s/?#]+")


def _public_keys(text: str) -> PublicKeys:
    keys: list[tuple[str, RSAPublicKey]] = []
    rest = text.replace("\\n", "\n").strip()
    while rest:
        if (found := _PEM.match(rest)) is None:
            raise ValueError("not PEM")
        rest = rest[found.end() :]
        try:
            key = load_pem_public_key(found[2].encode())
        except UnsupportedAlgorithm as error:
            raise ValueError("not an RSA key") from error
        if not isinstance(key, RSAPublicKey) or key.key_size < _LEAST_KEY_BITS:
            raise ValueError("not an RSA key of this size")
        keys.append((found[1] or ANY, key))
    return tuple(keys)


def _words(pattern: re.Pattern[str], text: str) -> Words:
    words = Words(word.strip() for word in text.split(",") if word.strip())
    if not all(map(pattern.fullmatch, words)):
        raise ValueError(text)
    return words


def _allowed_tenants(text: str) -> AllowedTenants:
    allowed: set[tuple[str, str]] = set()
    for entry in filter(None, map(str.strip, text.split(","))):
        tenant, _, others = entry.partition("=")
        for other in others.split("+"):
            pair = tenant.strip(), other.strip()
            if not _TENANT.fullmatch(pair[0]) or not (pair[1] == ANY or _TENANT.fullmatch(pair[1])):
                raise ValueError(entry)
            allowed.add(pair)
    return AllowedTenants(allowed)


def _tenant(text: str) -> str:
    if not _TENANT.fullmatch(text):
        raise ValueError(text)
    return text


def _base_url(text: str) -> str:
    if not _URL.fullmatch(text.rstrip("/")):
        raise ValueError(text)
    return text.rstrip("/")


PUBLIC_KEYS: Kind[PublicKeys] = Kind(
    _public_keys, "one or more RSA public keys of at least 2048 bits in PEM, each behind TENANT: or for all tenants"
)
ADMINS = Kind(lambda text: _words(_ADMIN, text), "USER@TENANT, separated by commas")
TENANTS = Kind(lambda text: _words(_TENANT, text), "names of tenants, separated by commas")
TENANT = Kind(_tenant, "the name of a tenant")
ALLOWED_TENANTS: Kind[AllowedTenants] = Kind(_allowed_tenants, "TENANT=TENANT+TENANT or TENANT=*, separated by commas")
BASE_URL = Kind(_base_url, "a URL without a path, such as https://tacc.tapis.io")


# fmt: off
@dataclass(frozen=True)
class TapisSettings:
    """Settings of the Tapis extension. Times are in seconds.

    Raises:
        SettingError: there is no key to verify tokens with, or both schedules together have too many waits.
    """

    jwt_public_key: tuple[tuple[str, RSAPublicKey], ...] = setting(
        "EXTENSION_TAPIS_JWT_PUBLIC_KEY", (), PUBLIC_KEYS,
        "Public keys (RS256) that verify tokens, in PEM. A key behind `TENANT:` is for this tenant's tokens, "
        "another one for those of all tenants without a key of their own.", secret=True)
    jwt_secret: str = setting(
        "EXTENSION_TAPIS_JWT_SECRET", "", SECRET,
        "Secret (HS256) that verifies tokens, for development.", secret=True)
    token_leeway: float = setting(
        "EXTENSION_TAPIS_TOKEN_LEEWAY", 60.0, seconds(0, 3600),
        "Seconds by which the clock of a token's maker may differ: a token is accepted so long before its `iat` and "
        "`nbf`, and after its `exp`.")
    site: str = setting(
        "EXTENSION_TAPIS_SITE", "tacc", TENANT,
        "Site of this server. Tokens of services are accepted if they are made for this site.")
    site_admin_tenant: str = setting(
        "EXTENSION_TAPIS_SITE_ADMIN_TENANT", "admin", TENANT,
        "Tenant of the site's services. Its users are refused.")
    tenants: frozenset[str] = setting(
        "EXTENSION_TAPIS_TENANTS", Words(), TENANTS,
        "Tenants that are served. Unset: all.")
    allowed_tenants: frozenset[tuple[str, str]] = setting(
        "EXTENSION_TAPIS_ALLOWED_TENANTS", AllowedTenants({("admin", ANY)}), ALLOWED_TENANTS,
        "Tenants that a tenant's services may act for, beside their own: `admin=*` or `dev=test+train`.")
    admins: frozenset[str] = setting(
        "EXTENSION_TAPIS_ADMINS", Words(), ADMINS,
        "Administrators of tenants. They may see and change the subscriptions of its users: `testadmin@dev`.")
    retry_schedule: tuple[float, ...] = setting(
        "EXTENSION_TAPIS_RETRY_SCHEDULE", Schedule([20.0] * 2), SCHEDULE,
        "Seconds between the first attempts of a notification. There is one attempt more than waits.")
    recovery_schedule: tuple[float, ...] = setting(
        "EXTENSION_TAPIS_RECOVERY_SCHEDULE", Schedule([600.0] * 150), SCHEDULE,
        "Seconds before each of the slow attempts that follow. After the last one the notification is a dead letter.")
    delivery_timeout: float = setting(
        "EXTENSION_TAPIS_DELIVERY_TIMEOUT", 10.0, seconds(0.1, 300),
        "Seconds within which a webhook has to answer. A change applies to subscriptions made from then on.")
    base_url: str = setting(
        "EXTENSION_TAPIS_BASE_URL", "", BASE_URL,
        "URL by which this server calls itself in test sequences. Unset: that of the request.")

    def __post_init__(self) -> None:
        if not self.jwt_public_key and not self.jwt_secret:
            raise SettingError(
                "no key verifies tokens: set EXTENSION_TAPIS_JWT_PUBLIC_KEY, or EXTENSION_TAPIS_JWT_SECRET to develop"
            )
        if len(self.schedule) > MOST_WAITS:
            raise SettingError(
                "EXTENSION_TAPIS_RETRY_SCHEDULE and EXTENSION_TAPIS_RECOVERY_SCHEDULE hold more waits together than "
                f"{MOST_WAITS}"
            )

    @property
    def schedule(self) -> tuple[float, ...]:
        """The waits between all attempts."""
        return self.retry_schedule + self.recovery_schedule
# fmt: on
