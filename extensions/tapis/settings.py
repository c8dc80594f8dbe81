"""The settings of this extension, and how their texts are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from extension_kit.protocol import Kind, SettingError, seconds, setting

PublicKeys = tuple[tuple[str, RSAPublicKey], ...]
"""Keys that tokens are signed with, each with the tenant that it is for; ``ANY``: all that have none of their own."""

ANY = "*"


class Schedule(tuple[float, ...]):
    """Waits in seconds; as a text, they are written as the setting has them."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return ``20x2,600``."""
        runs = [(wait, len(list(equal))) for wait, equal in groupby(self)]
        return ",".join(f"{wait:g}" + (f"x{times}" if times > 1 else "") for wait, times in runs)


class Words(frozenset[str]):
    """Names; as a text, they are written as the setting has them."""

    def __str__(self) -> str:
        """Return ``a,b``."""
        return ",".join(sorted(self))


class AllowedTenants(frozenset[tuple[str, str]]):
    """Pairs of a tenant and one that its services may act for; ``ANY``: all."""

    def __str__(self) -> str:
        """Return ``admin=*,dev=test``."""
        return ",".join(f"{tenant}={other}" for tenant, other in sorted(self))


_MOST_WAITS = 999  # what the kit takes, in both schedules together
_LONGEST_WAIT = 30 * 86400.0
_LEAST_KEY_BITS = 2048  # RFC 7518, section 3.3
_LEAST_SECRET_BYTES = 32  # RFC 7518, section 3.2
_PEM = re.compile(r"(?:([^\s:]{1,60}):\s*)?(-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----)\s*", re.DOTALL)
_WAIT = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)(?:x([1-9][0-9]{0,2}))?")
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


def _secret(text: str) -> str:
    if len(text.encode()) < _LEAST_SECRET_BYTES:
        raise ValueError("too short")
    return text


def _schedule(text: str) -> Schedule:
    waits: list[float] = []
    for part in text.split(","):
        if (found := _WAIT.fullmatch(part.strip())) is None or float(found[1]) > _LONGEST_WAIT:
            raise ValueError(part)
        waits += [float(found[1])] * int(found[2] or 1)
    if len(waits) > _MOST_WAITS:
        raise ValueError("too many")
    return Schedule(waits)


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
SECRET = Kind(_secret, f"a secret of at least {_LEAST_SECRET_BYTES} bytes")
SCHEDULE = Kind(_schedule, "seconds separated by commas, such as 20,20 or 600x150 for 150 times 600 s")
ADMINS = Kind(lambda text: _words(_ADMIN, text), "USER@TENANT, separated by commas")
TENANTS = Kind(lambda text: _words(_TENANT, text), "names of tenants, separated by commas")
TENANT = Kind(_tenant, "the name of a tenant")
ALLOWED_TENANTS: Kind[AllowedTenants] = Kind(_allowed_tenants, "TENANT=TENANT+TENANT or TENANT=*, separated by commas")
BASE_URL = Kind(_base_url, "a URL without a path, such as https://tacc.tapis.io")


# fmt: off
@dataclass(frozen=True)
class TapisSettings:
    """The settings. Times are in seconds.

    Raises:
        SettingError: no token could be verified, or the schedules are longer together than one may be.
    """

    jwt_public_key: tuple[tuple[str, RSAPublicKey], ...] = setting(
        "EXTENSION_TAPIS_JWT_PUBLIC_KEY", (), PUBLIC_KEYS,
        "The keys that tokens are signed with (RS256), in PEM. A key behind `TENANT:` is for this tenant's tokens, "
        "another one for those of all tenants that have none of their own.", secret=True)
    jwt_secret: str = setting(
        "EXTENSION_TAPIS_JWT_SECRET", "", SECRET,
        "The secret that tokens are signed with (HS256), for development.", secret=True)
    token_leeway: float = setting(
        "EXTENSION_TAPIS_TOKEN_LEEWAY", 60.0, seconds(0, 3600),
        "Seconds by which the clock that a token was made with may differ: so long before its `iat` and `nbf`, and "
        "after its `exp`, it is still taken.")
    site: str = setting(
        "EXTENSION_TAPIS_SITE", "tacc", TENANT,
        "The site which this server stands at: the tokens of services are taken when they are made for it.")
    site_admin_tenant: str = setting(
        "EXTENSION_TAPIS_SITE_ADMIN_TENANT", "admin", TENANT,
        "The tenant of the site's services. Its users are not let in.")
    tenants: frozenset[str] = setting(
        "EXTENSION_TAPIS_TENANTS", Words(), TENANTS,
        "The tenants that are served. Unset: all.")
    allowed_tenants: frozenset[tuple[str, str]] = setting(
        "EXTENSION_TAPIS_ALLOWED_TENANTS", AllowedTenants({("admin", ANY)}), ALLOWED_TENANTS,
        "The tenants that a tenant's services may act for, beside their own: `admin=*` or `dev=test+train`.")
    admins: frozenset[str] = setting(
        "EXTENSION_TAPIS_ADMINS", Words(), ADMINS,
        "The administrators of tenants, who may see and change the subscriptions of its users: `testadmin@dev`.")
    retry_schedule: tuple[float, ...] = setting(
        "EXTENSION_TAPIS_RETRY_SCHEDULE", Schedule([20.0] * 2), SCHEDULE,
        "The waits between the first attempts of a notification, which are one more than these.")
    recovery_schedule: tuple[float, ...] = setting(
        "EXTENSION_TAPIS_RECOVERY_SCHEDULE", Schedule([600.0] * 150), SCHEDULE,
        "The waits before each of the slow attempts that follow. After the last one the notification is a dead letter.")
    delivery_timeout: float = setting(
        "EXTENSION_TAPIS_DELIVERY_TIMEOUT", 10.0, seconds(0.1, 300),
        "Seconds in which the webhooks of subscriptions that are made from then on have to answer.")
    base_url: str = setting(
        "EXTENSION_TAPIS_BASE_URL", "", BASE_URL,
        "The URL by which this server calls itself in test sequences. Unset: that of the request.")

    def __post_init__(self) -> None:
        if not self.jwt_public_key and not self.jwt_secret:
            raise SettingError(
                "nobody could be let in: set EXTENSION_TAPIS_JWT_PUBLIC_KEY, or EXTENSION_TAPIS_JWT_SECRET to develop"
            )
        if len(self.schedule) > _MOST_WAITS:
            raise SettingError(
                "EXTENSION_TAPIS_RETRY_SCHEDULE and EXTENSION_TAPIS_RECOVERY_SCHEDULE hold more waits together than "
                f"{_MOST_WAITS}"
            )

    @property
    def schedule(self) -> tuple[float, ...]:
        """The waits between all attempts."""
        return self.retry_schedule + self.recovery_schedule
# fmt: on
