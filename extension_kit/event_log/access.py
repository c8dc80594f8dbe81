"""Access to the pages: people who may look, by password, by a trusted proxy, or everybody on this machine."""

import hashlib
import hmac
import logging
import secrets
from dataclasses import dataclass

from flask import Request
from werkzeug.exceptions import Forbidden

from extension_kit.event_log import forgery
from extension_kit.event_log.hosts import Hosts
from extension_kit.event_log.sessions import Session, Sessions
from extension_kit.event_log.trusted_proxies import TrustedProxies
from extension_kit.settings.kit import Settings
from extension_kit.web.password_tries import TooManyTries, Tries, limit_keys
from extension_kit.web.passwords import PasswordGate

logger = logging.getLogger("extension_kit.event_log")

API = "/api/"
"""Beginning of the paths of the JSON API."""

THREADS = 8
"""Number of threads that answer requests."""

_NAME_CHARACTERS, _CHOSEN_CHARACTERS = 255, 200
READ_METHODS = {"GET", "HEAD", "OPTIONS"}
"""Methods of requests that change nothing."""


@dataclass(frozen=True)
class Viewer:
    """Somebody who may look at the pages.

    Attributes:
        name: "password" after a login, the user name of a proxy, "NAME (by password)" by basic authentication, or
            "anonymous" if the event log is open; at most 255 characters.
        may_act: False in the read-only mode.
        may_see_raw: True if bodies may be shown without redaction.
    """

    name: str
    may_act: bool
    may_see_raw: bool

    @property
    def rights(self) -> tuple[bool, bool, bool]:
        """Everything by which the pages of two viewers differ, but the tokens in their forms."""
        return self.name == "password", self.may_act, self.may_see_raw


class Access:
    """Finds the viewer of a request, and refuses requests that change something if they may not.

    Args:
        settings: the kit's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.hosts = Hosts(settings.event_log_address, settings.event_log_hosts)
        self.proxies = TrustedProxies(settings.event_log_trusted_header, settings.event_log_trusted_proxies)
        self.sessions = Sessions(settings.event_log_password)
        self._gate = PasswordGate(THREADS, Tries())
        self._hash_key = secrets.token_bytes(32)
        self._hash = self._hashed(settings.event_log_password)

    @property
    def has_password(self) -> bool:
        """True if people may log in."""
        return bool(self._settings.event_log_password)

    def viewer(self, request: Request, session: Session) -> Viewer | None:
        """Return the viewer of a request; None if it needs a login.

        Raises:
            TooManyTries: there were too many wrong passwords.
            PasswordsBusy: too many requests are checking passwords.
        """
        if user := self.proxies.user(request):
            return self._named(user)
        if self._settings.event_log_open:
            return self._named("anonymous")
        if session.is_logged_in:
            return self._named("password")
        sent = request.authorization
        if sent is None or sent.type != "basic" or not sent.password or not request.path.startswith(API):
            return None
        if not self.check_password(request, sent.password):
            return None
        # Everybody who has the password chooses a name: it must not look like one of a proxy or of the command line.
        return self._named(f"{sent.username[:_CHOSEN_CHARACTERS]} (by password)" if sent.username else "password")

    def check_password(self, request: Request, password: str) -> bool:
        """Return True if a password is right. Wrong ones are logged, and slowed down by address.

        Raises:
            TooManyTries: there were too many wrong passwords.
            PasswordsBusy: too many requests are checking passwords.
        """
        if not self.has_password:
            return False
        address = self.proxies.client_address(request)
        fields = {"address": address}
        try:
            keys = limit_keys(address, None)
            is_right = self._gate.check(keys, lambda: hmac.compare_digest(self._hashed(password), self._hash))
        except TooManyTries:
            logger.warning("Event log: login refused after too many wrong passwords", extra={"fields": fields})
            raise
        if not is_right:
            logger.warning("Event log: wrong password", extra={"fields": fields})
        return is_right

    def log_in(self, request: Request) -> Session:
        """Return a new session after the right password."""
        logger.info("Event log: login", extra={"fields": {"address": self.proxies.client_address(request)}})
        return self.sessions.log_in()

    def refuse_forgery(self, request: Request, session: Session) -> None:
        """Check that a request that changes something comes from a page of the event log, or from no browser.

        Raises:
            Forbidden: it may have been forged.
        """
        if request.method in READ_METHODS:
            return
        if forgery.is_from_elsewhere(request):
            raise Forbidden("This request comes from a page of another origin: use the event log's own pages.")
        needs_token = not request.path.startswith(API) or session.is_logged_in or forgery.is_from_browser(request)
        if needs_token and not forgery.has_token(request, session):
            raise Forbidden("This page has become too old, or cookies are blocked: load it again, and try once more.")

    def refuse_actions(self, request: Request, viewer: Viewer) -> None:
        """Check that a viewer may change something, if the request would.

        Raises:
            Forbidden: the event log is read-only.
        """
        if request.method not in READ_METHODS and not viewer.may_act:
            raise Forbidden("The event log is read-only.")

    def _named(self, name: str) -> Viewer:
        return Viewer(
            "".join(each if each.isprintable() else "\ufffd" for each in name[:_NAME_CHARACTERS]),
            may_act=not self._settings.event_log_read_only,
            may_see_raw=self._settings.event_log_raw,
        )

    def _hashed(self, password: str) -> bytes:
        """Return a hash of a password: comparing hashes takes the same time for all passwords of a length."""
        return hmac.digest(self._hash_key, password.encode(), hashlib.sha256)
