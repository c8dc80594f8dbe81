"""Login with the password, and logout."""

from math import ceil
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, g, make_response, redirect, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import Unauthorized
from werkzeug.wrappers import Response as AnyResponse

from extension_kit.event_log.access import API, READ_METHODS, Access
from extension_kit.event_log.forgery import is_from_browser
from extension_kit.event_log.rendering import is_poll
from extension_kit.events.answers import problem
from extension_kit.web.password_tries import TooManyTries
from extension_kit.web.passwords import PasswordsBusy
from extension_kit.web.responses import respond

_HOW = "Send the password of the event log by basic authentication, with any user name."
_HOME = "/"
_LONGEST_PATH = 2000  # characters


def login_blueprint(access: Access) -> Blueprint:
    """Make the blueprint of ``/login`` and ``/logout``."""
    login = Blueprint("login", __name__)

    def form(status: int = 200, mistake: str = "", retry_after: int = 0) -> Response:
        page = render_template(
            "login.html",
            mistake=mistake,
            next=_local_path(request.values),
            has_password=access.has_password,
        )
        response = make_response(page, status)
        if retry_after:
            response.headers["Retry-After"] = str(retry_after)
        return response

    @login.get("/login")
    def show() -> Any:
        if access.viewer(request, g.session) is not None:
            return redirect(_local_path(request.values), 303)
        return form()

    @login.post("/login")
    def check() -> Any:
        try:
            is_right = access.check_password(request, request.form.get("password", ""))
        except TooManyTries as error:
            seconds = ceil(error.seconds)
            return form(429, f"Too many wrong passwords: wait for {seconds} s, then try again.", seconds)
        except PasswordsBusy:
            return form(503, "Too many people are logging in: try again in a second.", 1)
        if not is_right:
            return form(403, "The password is wrong.")
        response = redirect(_local_path(request.values), 303)
        g.cookies.keep(response, access.log_in(request))
        return response

    @login.post("/logout")
    def end() -> Any:
        access.sessions.log_out(g.session)
        response = redirect("/login", 303)
        g.cookies.forget_login(response)
        return response

    return login


def ask_for_login() -> AnyResponse:
    """Answer a request that needs a login: a page by the form, other requests with 401."""
    if request.path.startswith(API):
        # A page's script must not open the browser's own dialog for passwords, which "Basic" would do.
        scheme = "Session" if is_from_browser(request) else "Basic"
        challenge = ("WWW-Authenticate", f'{scheme} realm="event log", charset="UTF-8"')
        return respond(problem(401, "Wrong or missing password", _HOW, headers=(challenge,)))
    if request.method not in READ_METHODS:
        raise Unauthorized("You are not logged in any more: log in, and try once more.")
    if is_poll():  # the whole page is loaded again, and asks for the login
        return Response(status=401, headers={"HX-Refresh": "true"})
    login = f"/login?next={quote(request.full_path.removesuffix('?'), safe='')}"
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        # The browser follows a link of another site, and has sent no strict cookies. It does if a page of ours goes on.
        return make_response(render_template("arrival.html", login=login))
    return redirect(login, 303)


def _local_path(values: MultiDict[str, str]) -> str:
    """Return the path to go to after the login; another site is not one."""
    path = values.get("next", _HOME)
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_local and len(path) <= _LONGEST_PATH else _HOME
