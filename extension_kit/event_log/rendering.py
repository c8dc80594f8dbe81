"""Rendering: a page as the answer to a request, with a tag by which a poll learns that nothing has changed."""

from hashlib import blake2b
from typing import Any

from flask import Response, g, render_template, request

_PLACE = 'data-tag=""'
"""The place of the tag in a page. Texts from outside cannot contain it, because their quotes are escaped."""


def show(template: str, status: int = 200, **context: Any) -> Response:
    """Return a page; 304 without one if the request names the tag of the same page.

    Args:
        template: its file.
        status: HTTP status of the answer.
        context: values for the template.
    """
    here = request.full_path.rstrip("?")
    html = render_template(template, here=here, **context)
    if _PLACE not in html:
        return Response(html, status, content_type="text/html; charset=utf-8")
    tag = f'"{blake2b(html.encode(), digest_size=16).hexdigest()}"'
    response = Response(html.replace(_PLACE, f"data-tag='{tag}'", 1), status, content_type="text/html; charset=utf-8")
    response.headers["ETag"] = tag
    response.make_conditional(request)
    return response


def is_poll() -> bool:
    """Return True if the present request is a poll: of its answer, only the part that can change is looked at."""
    return "HX-Request" in request.headers


def wants_raw() -> bool:
    """Return True if the viewer of the present request wants to see a body without redaction, and may."""
    return bool(g.viewer.may_see_raw and request.args.get("raw") == "1")
