"""Users of the API: authentication by password or client certificate, and permissions (Pulp 2, auth docs)."""

import hmac
import logging
import secrets
from base64 import b64decode
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from socket import gethostname
from threading import Lock
from typing import NamedTuple
from urllib.parse import urlsplit

from extension_kit.protocol import (
    Kit,
    PasswordGate,
    PasswordsBusy,
    ReceivedRequest,
    TooManyTries,
    Tries,
    hash_password,
    limit_keys,
    peer_certificate,
    verify_password,
)

from .answers import PulpError
from .settings import OPERATIONS, PulpSettings, User

logger = logging.getLogger("extension_kit.pulp")

_MOST_REMEMBERED = 1000
_OF_PROXIES = {"forwarded", "via", "x-real-ip"}
"""Headers that proxies add, beside those that begin with ``X-Forwarded-``."""


class Credentials(NamedTuple):
    """A name and a password as a client sent them."""

    name: str
    password: str

    def __repr__(self) -> str:
        """Return the name only."""
        return f"Credentials(name={self.name!r})"


class Users:
    """The users of the settings.

    Args:
        kit: the kit.
        settings: the users. Without any, only requests from this machine are served.
    """

    def __init__(self, kit: Kit, settings: PulpSettings) -> None:
        self._users = {user.name: user for user in settings.users}
        if settings.admin_username:
            # Hashed, so that the time of a check does not tell the administrator's name from others.
            password_hash = hash_password(settings.admin_password)
            self._users[settings.admin_username] = User(settings.admin_username, password_hash, frozenset(OPERATIONS))
        self._some_hash = next((user.password_hash for user in self._users.values()), "")
        self._gate = PasswordGate(kit.settings.web_threads, Tries())
        self._remembered: OrderedDict[bytes, None] = OrderedDict()
        self._key = secrets.token_bytes(32)
        self._lock = Lock()
        if not self._users:
            logger.warning(
                "Pulp's API has no users: it serves requests from this machine only. Set EXTENSION_PULP_ADMIN_USERNAME "
                "and EXTENSION_PULP_ADMIN_PASSWORD to serve others"
            )

    def authorize(self, request: ReceivedRequest, operation: str) -> None:
        """Check that the client of a request may perform an operation.

        Raises:
            PulpError: 401 with Pulp's code; 429, a password cannot be checked now.
        """
        if not self._users:
            if not _is_local(request):
                raise unauthenticated()
            return
        user = self._authenticated(request)
        if operation not in user.operations:
            name = operation.upper()
            raise PulpError(
                401,
                "PLP0026",
                f"Permission denied: user {user.name} cannot perform {name}.",
                {"user": user.name, "operation": name},
                auth_error_code="permission_denied",
            )

    @property
    def are_none(self) -> bool:
        """True if the settings name no user."""
        return not self._users

    def is_slow(self, request: ReceivedRequest) -> bool:
        """Return True if a request has a password that has to be checked, which takes long on purpose."""
        sent = basic_credentials(request) if self._users else None
        return sent is not None and not self._remembers(sent)

    def _authenticated(self, request: ReceivedRequest) -> User:
        """Return the user of a request: of its Basic credentials, else of its client certificate, in Pulp's order."""
        if (credentials := basic_credentials(request)) is not None:
            return self._logged_in(credentials, request.connection.get("REMOTE_ADDR"))
        if _is_basic(request):
            raise unauthenticated()
        if (certificate := peer_certificate(request.connection)) is not None:
            user = self._users.get(certificate.common_name or "")
            if user is None:
                raise PulpError(
                    401,
                    "PLP0027",
                    "Authentication failed: the client certificate names no user.",
                    auth_error_code="invalid_ssl_certificate",
                )
            return user
        raise unauthenticated()

    def _logged_in(self, sent: Credentials, address: str | None) -> User:
        user = self._users.get(sent.name)
        is_right = self._has_password(user, sent, address)
        if user is None or not is_right:
            raise PulpError(
                401,
                "PLP0030",
                f"Authentication with username {sent.name} failed: invalid username or password",
                {"user": sent.name},
                auth_error_code="invalid_username_or_password",
            )
        return user

    def _has_password(self, user: User | None, sent: Credentials, address: str | None) -> bool:
        """Return True if a password is the user's. Checks are slow on purpose, so right passwords are remembered."""
        if user is not None and self._remembers(sent):
            return True
        # An unknown name takes as long as a known one.
        password_hash = user.password_hash if user else self._some_hash
        try:
            is_right = self._gate.check(
                limit_keys(address, sent.name),
                lambda: verify_password(sent.password, password_hash) and user is not None,
            )
        except TooManyTries as error:
            raise _busy("Too many wrong passwords", error.seconds) from None
        except PasswordsBusy:
            raise _busy("Too many passwords are checked at once", 1.0) from None
        if not is_right:
            return False
        with self._lock:
            self._remembered[self._digest(sent)] = None
            if len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return True

    def _remembers(self, sent: Credentials) -> bool:
        """Return True if a password was found to be right before."""
        seen = self._digest(sent)
        with self._lock:
            if seen not in self._remembered:
                return False
            self._remembered.move_to_end(seen)
        return True

    def _digest(self, sent: Credentials) -> bytes:
        return hmac.digest(self._key, f"{sent.name}:{sent.password}".encode(), "sha256")


def basic_credentials(request: ReceivedRequest) -> Credentials | None:
    """Return the name and password of a request's header ``Authorization``; None if it is not one of Basic.

    Clients encode them as UTF-8 (RFC 7617) or, as Python's requests does, as ISO 8859-1.
    """
    if not _is_basic(request):
        return None
    _, _, encoded = request.headers["authorization"].partition(" ")
    try:
        sent = b64decode(encoded.strip(), validate=True)
    except ValueError:
        return None
    try:
        text = sent.decode()
    except UnicodeDecodeError:
        text = sent.decode("latin-1")
    name, colon, password = text.partition(":")
    return Credentials(name, password) if colon else None


def _is_basic(request: ReceivedRequest) -> bool:
    return request.headers.get("authorization", "").partition(" ")[0].lower() == "basic"


def _is_local(request: ReceivedRequest) -> bool:
    """Return True if a request comes from this machine, and neither through a proxy nor from a web page on it."""
    names = request.headers.keys()
    if any(name in _OF_PROXIES or name.startswith("x-forwarded-") for name in names):
        return False
    if "origin" in names or request.headers.get("sec-fetch-site", "none") != "none":
        return False  # any page in a browser on this machine can send requests
    if not _is_name_of_this_machine(request.headers.get("host", "localhost")):
        return False  # the name of a page's site may lead to this machine, so that the page can read answers
    return _is_loopback(request.connection.get("REMOTE_ADDR") or "")


def _is_name_of_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in ("localhost", gethostname().lower()) or _is_loopback(name)


def _is_loopback(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:  # such as that of a Unix socket, which has none
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # a client by IPv4, where the server listens by IPv6
    return address.is_loopback


def unauthenticated() -> PulpError:
    """Return the error for missing credentials, or a scheme that is not served (PLP0025)."""
    return PulpError(401, "PLP0025", "Authentication failed.", auth_error_code="authentication_failed")


def _busy(reason: str, seconds: float) -> PulpError:
    return PulpError(429, "PLP0000", f"{reason}: wait, and try again", retry_after=seconds)
