"""Sessions of browsers: a random id in a cookie, signed after a login, and valid for twelve hours from then on.

The key is derived from the password: restarts keep sessions, and a changed password ends them. The cookie of somebody
without a login is not signed, because a signature by that key would let strangers try passwords elsewhere.
"""

import hashlib
import re
import secrets
import threading
from collections import OrderedDict
from typing import Any, NamedTuple

from itsdangerous import BadData, URLSafeTimedSerializer

_LASTS = 12 * 3600  # seconds
_MOST_ENDED = 10_000  # logouts that are remembered
_SALT = b"extension-kit event log: sessions"
_ID = re.compile(r"[A-Za-z0-9_-]{32}")


class Session(NamedTuple):
    """Session of a browser.

    Attributes:
        id: random; only the browser and this server know it.
        cookie: the text of the cookie.
        is_logged_in: True after a login.
        is_new: True if the browser has not got the cookie yet.
    """

    id: str
    cookie: str
    is_logged_in: bool = False
    is_new: bool = False


class Sessions:
    """Makes and reads sessions.

    Args:
        password: of the event log; empty: there are no logins.
    """

    def __init__(self, password: str) -> None:
        self._serializer = URLSafeTimedSerializer(
            _key(password),
            salt=_SALT,
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )
        self._ended: OrderedDict[str, None] = OrderedDict()  # ids, the latest at the end
        self._lock = threading.Lock()

    def logged_in(self, cookie: str) -> Session | None:
        """Return the session of a login's cookie; None if it is invalid, too old, or of a login that has ended."""
        try:
            id: Any = self._serializer.loads(cookie, max_age=_LASTS)
        except BadData:
            return None
        return None if id in self._ended else Session(id, cookie, is_logged_in=True)

    def anonymous(self, cookie: str) -> Session:
        """Return the session of a cookie without a login; a new one if it is invalid."""
        if _ID.fullmatch(cookie):
            return Session(cookie, cookie)
        id = _random_id()
        return Session(id, id, is_new=True)

    def log_in(self) -> Session:
        """Return a session with a login; its id is new, so that nobody knows it from before."""
        id = _random_id()
        cookie = self._serializer.dumps(id)
        return Session(id, cookie if isinstance(cookie, str) else cookie.decode(), is_logged_in=True, is_new=True)

    def log_out(self, session: Session) -> None:
        """End a session: the cookie of its login is not valid any more. Without a login there is nothing to end."""
        if not session.is_logged_in:  # strangers must not have the ends of others forgotten
            return
        with self._lock:
            self._ended[session.id] = None
            while len(self._ended) > _MOST_ENDED:
                self._ended.popitem(last=False)


def _key(password: str) -> bytes:
    """Derive the key of signatures from a password, slowly, or make a random one."""
    if not password:
        return secrets.token_bytes(32)
    return hashlib.scrypt(password.encode(), salt=_SALT, n=2**15, r=8, p=1, maxmem=64 * 1024**2, dklen=32)


def _random_id() -> str:
    return secrets.token_urlsafe(24)
