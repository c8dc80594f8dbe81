"""Rendering: a page as the answer to a request, with a tag by which a poll learns that nothing has changed.

Viewers with the same rights share a page, up to the tokens in its forms and its tag, which each request fills in.
"""

import secrets
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from flask import Response, g, render_template, request

from extension_kit.event_log.forgery import token_of
from extension_kit.event_log.shared_pages import SharedPages

_PLACE = b'data-tag=""'
"""The place of the tag in a page. Texts from outside cannot contain it, because their quotes are escaped."""

_TOKEN = secrets.token_hex(32).encode()
"""The place of the token of a viewer's session in a shared page. Nobody outside can know it."""


def show(pages: SharedPages, template: str, read: Callable[[], Mapping[str, Any]]) -> Response:
    """Return a page; 304 without one if the request names the tag of the same page.

    Args:
        pages: made for others a moment ago.
        template: its file.
        read: returns the values for the template, which depend on the address, the rights of the viewer, and whether
            the request is a poll.
    """

    def make() -> bytes:
        values = read()
        g.is_shared = True
        try:
            return render(template, **values).encode()
        finally:
            g.is_shared = False

    html = pages.get((request.full_path, is_poll(), g.viewer.rights), make)
    if _TOKEN in html:
        g.keeps_session = True
        html = html.replace(_TOKEN, token_of(g.session).encode())
    tag = f'"{blake2b(html, digest_size=16).hexdigest()}"'
    response = Response(html.replace(_PLACE, f"data-tag='{tag}'".encode(), 1), content_type="text/html; charset=utf-8")
    if _PLACE in html:
        response.headers["ETag"] = tag
        response.make_conditional(request)
    return response


def render(template: str, **values: Any) -> str:
    """Return the present page, which asks for itself again, made from its template."""
    return render_template(template, here=request.full_path.rstrip("?"), **values)


def csrf_token() -> str:
    """Return the token for the forms of a page, and have the browser keep the session that it belongs to.

    A shared page gets a place for it.
    """
    if g.is_shared:
        return _TOKEN.decode()
    g.keeps_session = True
    return token_of(g.session)


def is_poll() -> bool:
    """Return True if the present request is a poll: of its answer, only the part that can change is looked at."""
    return "HX-Request" in request.headers


def wants_raw() -> bool:
    """Return True if the viewer of the present request wants to see a body without redaction, and may."""
    return bool(g.viewer.may_see_raw and request.args.get("raw") == "1")
