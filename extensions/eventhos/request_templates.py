"""Request templates: the requests of actions, rendered with the values of an event (eventhos, template language)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from .paths import MISSING
from .templates import PLACEHOLDER, Missing, TemplateError, Text, compile_value
from .work import limited_work

_LINE_BREAK = re.compile(r"[\r\n\0]")


@dataclass(frozen=True)
class Request:
    """A rendered request.

    Attributes:
        method: in upper case.
        url: with its query.
        headers: as the action has them.
        body: a JSON value; ``MISSING``: none.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: Any


class RequestTemplate:
    """The template of an action's request.

    Args:
        method: of the request.
        url: placeholders may stand in its path and query, not before.
        headers: values may have placeholders, names not.
        params: parameters that are added to the query; values may have placeholders.
        body: a JSON value; None or ``{}``: the body of the event is passed on.

    Raises:
        TemplateError: a part cannot be used; ``place`` names it.
    """

    def __init__(
        self, method: str, url: str, headers: Mapping[str, str], params: Mapping[str, str], body: Any = None
    ) -> None:
        self._method = method.upper()
        base, path, query = _split(url)
        self._base = base
        self._path = Text(path, "url", encode=lambda text: quote(text, safe=""))
        self._filled = [bool(part) for part in _masked(path).split("/")]
        self._query = Text(query, "url", encode=lambda text: quote(text, safe=""))
        self._headers = {name: Text(value, f"headers.{name}") for name, value in headers.items()}
        self._params = {name: Text(value, f"params.{name}") for name, value in params.items()}
        self._body = None if body is None or body == {} else compile_value(body, "body")

    def render(self, values: Mapping[str, Any], missing: Missing = "undefined") -> Request:
        """Return the request for an event.

        Args:
            values: ``headers``, ``query``, ``body`` and ``url`` of the event, and ``oauthResponse`` if there is one.
            missing: treatment of placeholders that find nothing.

        Raises:
            TemplateError: a value is needed and missing, a header would have a line break, the path would be
                another one, or the event is too large for the template.
        """
        with limited_work():
            return self._render(values, missing)

    def _render(self, values: Mapping[str, Any], missing: Missing) -> Request:
        in_url: Missing = "error" if missing == "omit" else missing
        params = {name: text.render(values, missing) for name, text in self._params.items()}
        added = [
            f"{quote(name, safe='')}={quote(each, safe='')}" for name, each in params.items() if each is not MISSING
        ]
        query = "&".join(filter(None, [self._query.render(values, in_url), *added]))
        url = self._base + self._rendered_path(values, in_url) + (f"?{query}" if query else "")
        body = values.get("body", MISSING) if self._body is None else self._body(values, missing)
        return Request(self._method, url, self._rendered_headers(values, missing), body)

    def _rendered_path(self, values: Mapping[str, Any], missing: Missing) -> str:
        path: str = self._path.render(values, missing)
        if self._path.is_fixed:
            return path
        parts = path.split("/")  # those of the template: slashes of values are encoded
        if any(unquote(part) in (".", "..") for part in parts):
            raise TemplateError("url", "a part of the path would be '.' or '..', which leads to another path")
        if any(not part and is_filled for part, is_filled in zip(parts, self._filled, strict=True)):
            raise TemplateError("url", "a part of the path would be empty, which leads to another path")
        return path

    def _rendered_headers(self, values: Mapping[str, Any], missing: Missing) -> dict[str, str]:
        rendered = {name: text.render(values, missing) for name, text in self._headers.items()}
        headers = {name: value for name, value in rendered.items() if value is not MISSING}
        for name, value in headers.items():
            if _LINE_BREAK.search(value):
                raise TemplateError(f"headers.{name}", "the value of the event has a line break")
        return headers


def _split(url: str) -> tuple[str, str, str]:
    """Return scheme and host, path, and query of a URL; a fragment is left out.

    Raises:
        TemplateError: it is no http or https URL with a host, or the host has a placeholder.
    """
    start = url.find("/", url.find("://") + 3) if "://" in url else -1
    base = url if start < 0 else url[:start]
    if "?" in base or "#" in base:
        start = min(position for mark in "?#" if (position := url.find(mark)) >= 0)
        base = url[:start]
    if "${" in base:
        raise TemplateError("url", "scheme and host have no placeholders: an event must not choose where it is sent")
    try:
        parts = urlsplit(base)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise TemplateError("url", "write http://HOST/... or https://HOST/...")
    if "@" in parts.netloc:
        raise TemplateError("url", "a user name or password belongs into a header that is secret")
    rest = "" if start < 0 else url[start:]
    path, query = _outside(rest)
    return base, path or "/", query


def _masked(text: str) -> str:
    """Return a text with letters in place of its placeholders, which may have slashes and question marks."""
    return PLACEHOLDER.sub(lambda found: "x" * len(found[0]), text)


def _outside(rest: str) -> tuple[str, str]:
    """Split path and query at the first question mark that is in no placeholder, and drop a fragment."""
    masked = _masked(rest)
    end = masked.find("#") if "#" in masked else len(rest)
    mark = masked.find("?", 0, end)
    return (rest[:end], "") if mark < 0 else (rest[:mark], rest[mark + 1 : end])
