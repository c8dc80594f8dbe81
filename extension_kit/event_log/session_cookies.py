"""Cookies of sessions: no script reads them, no other site sends them, and under TLS no plain connection does.

There is one cookie for a login, and one without. A browser that follows a link from another site sends neither, and the
answer must not replace its login.
"""

from flask import Request, Response

from extension_kit.event_log.sessions import Session, Sessions

_LOGIN, _ANONYMOUS = "event-log", "event-log-anonymous"


class SessionCookies:
    """Cookies of one request and its answer.

    Args:
        request: of the browser.
        is_encrypted: True if the browser speaks TLS: then no other host can set cookies of these names.
    """

    def __init__(self, request: Request, *, is_encrypted: bool) -> None:
        self._cookies = request.cookies
        self._is_encrypted = is_encrypted
        self._prefix = "__Host-" if is_encrypted else ""
        # Servers at other ports of a host get its cookies, too.
        self._port = request.environ.get("SERVER_PORT", "")

    def session(self, sessions: Sessions) -> Session:
        """Return the session of the browser: that of a login, if it has one, or a new one."""
        login, anonymous = (self._cookies.get(self._name(which), "") for which in (_LOGIN, _ANONYMOUS))
        return sessions.logged_in(login) or sessions.anonymous(anonymous)

    def keep(self, response: Response, session: Session) -> None:
        """Have the browser keep a session until it is closed."""
        response.set_cookie(
            self._name(_LOGIN if session.is_logged_in else _ANONYMOUS),
            session.cookie,
            httponly=True,
            samesite="Strict",
            secure=self._is_encrypted,
        )

    def forget_login(self, response: Response) -> None:
        """Have the browser forget a login."""
        response.delete_cookie(self._name(_LOGIN), httponly=True, samesite="Strict", secure=self._is_encrypted)

    def _name(self, which: str) -> str:
        return f"{self._prefix}{which}-{self._port}"
