"""Cross-site request forgery: requests that change something must come from the event log's own pages.

A page elsewhere can make a browser send a request, with the browser's cookies and the credentials that it remembers. So
such a request needs a token that only our pages hold, and browsers say where it comes from.
"""

import hashlib
import hmac

from flask import Request

from extension_kit.event_log.sessions import Session

FIELD, HEADER = "csrf", "X-CSRF-Token"
"""Name of the field of forms with the token, and of the header of scripts."""

_OF_BROWSERS = ("Sec-Fetch-Site", "Origin", "Cookie", "HX-Request", HEADER)


def token_of(session: Session) -> str:
    """Return the token of a session."""
    return hmac.digest(session.id.encode(), b"csrf token", hashlib.sha256).hex()


def has_token(request: Request, session: Session) -> bool:
    """Return True if a request carries the token of its session."""
    given = request.headers.get(HEADER) or request.form.get(FIELD, "")
    return not session.is_new and hmac.compare_digest(given.encode(), token_of(session).encode())


def is_from_browser(request: Request) -> bool:
    """Return True if a browser may have sent a request. Scripts without a browser need no token."""
    return any(name in request.headers for name in _OF_BROWSERS)


def is_from_elsewhere(request: Request) -> bool:
    """Return True if a browser says that a page of another origin has sent a request.

    Browsers send no ``Sec-Fetch-Site`` without TLS, except to localhost; there, ``Origin`` must do.
    """
    if (site := request.headers.get("Sec-Fetch-Site")) is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("Host")
