"""Requests of actions and their security, as they are sent to the API, kept, and shown (eventhos, /action)."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from .answers import EventhosError
from .body_fields import CUSTOM, OAUTH2
from .expressions import Expression, ExpressionError
from .request_templates import RequestTemplate
from .templates import TemplateError

MALFORMED = 400004
"""Code of an action that is refused."""

_LARGEST = 1_000_000  # bytes
_MOST_PLACEHOLDERS = 1_000

_HIDDEN = "****"
"""Stands for a secret in answers, and for the one that is kept in changes."""


def make_request(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Check the template of a request and return it as it is kept, but for secrets that are to stay.

    It takes up to a second: call it before a transaction.

    Args:
        sent: a loaded ``ActionChange``.

    Raises:
        EventhosError: 400, a part cannot be used; the message names it.
    """
    if sent["function"].strip():
        raise _refusal("rawFunctionBody: JavaScript is not run here; write bodyExpression, a JMESPath expression")
    headers = sent["headers"] or ()
    names = [each["key"].lower() for each in headers]
    if twice := [name for name in names if names.count(name) > 1]:
        raise _refusal(f"headers.{twice[0]}: it comes twice")
    made = {
        "url": sent["url"],
        "method": sent["method"],
        "headers": {each["key"]: each["value"] for each in headers},
        "params": {each["key"]: each["value"] for each in sent["params"] or ()},
        "body": _body(sent),
        "expression": sent["expression"].strip() or None,
        "secretHeaders": [each["key"] for each in headers if each["secret"]],
    }
    _check_size(made)
    try:
        RequestTemplate(made["method"], made["url"], made["headers"], made["params"], made["body"])
    except TemplateError as error:
        raise _refusal(str(error)) from None
    if made["expression"]:
        _check_expression(made["expression"])
    return made


def with_secrets(request: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a request with the secret headers that were sent as they are shown.

    Args:
        request: of ``make_request``.
        before: the request that it replaces; None: there is none.

    Raises:
        EventhosError: 400, there is no such secret.
    """
    secrets = {name.lower(): before["headers"][name] for name in before["secretHeaders"]} if before else {}
    hidden = {name for name, value in request["headers"].items() if value == _HIDDEN}
    kept = {name: secrets[name.lower()] for name in hidden if name.lower() in secrets}
    if kept and before and _origin(request["url"]) != _origin(before["url"]):
        raise _refusal(f"headers.{min(kept)}: send the secret again, because another host would get it")
    if unknown := (hidden - kept.keys()).intersection(request["secretHeaders"]):
        raise _refusal(f"headers.{min(unknown)}: {_HIDDEN} stands for a secret that is kept, and there is none")
    secret_names = [name for name in request["headers"] if name in kept or name in request["secretHeaders"]]
    return {**request, "headers": {**request["headers"], **kept}, "secretHeaders": secret_names}


def make_security(sent: Mapping[str, Any], before: Mapping[str, str] | None) -> dict[str, str] | None:
    """Return the security of an action as it is kept; None for ``custom``.

    Args:
        sent: a loaded ``ActionChange``.
        before: the security that it changes; keys that are not sent stay.

    Raises:
        EventhosError: 400, a part is missing or cannot be used; the message names it.
    """
    kind = sent["security_type"] or (OAUTH2 if before else CUSTOM)
    if kind == CUSTOM:
        return None
    kept = before or {}
    secret = sent["client_secret"]
    made = {
        "url": sent["security_url"] or kept.get("url", ""),
        "clientId": sent["client_id"] or kept.get("clientId", ""),
        "clientSecret": kept.get("clientSecret", "") if secret in ("", _HIDDEN) else secret,
    }
    if secret in ("", _HIDDEN) and kept and _origin(made["url"]) != _origin(kept["url"]):
        raise _refusal("clientSecret: send it again, because another host would get it")
    for key, name in (("url", "securityUrl"), ("clientId", "clientId"), ("clientSecret", "clientSecret")):
        if not made[key]:
            raise _refusal(f"{name}: {OAUTH2} needs it")
    if "${" in made["url"]:
        raise _refusal("securityUrl: it has no placeholders, because there is no event yet")
    try:
        RequestTemplate("POST", made["url"], {}, {})
    except TemplateError as error:
        raise _refusal(f"securityUrl: {str(error).removeprefix('url: ')}") from None
    return made


def _origin(url: str) -> str:
    """Return scheme, host and port of a URL whose host has no placeholders."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split('[/?#]', rest, maxsplit=1)[0]}".lower()


def shown_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request as answers show it, without its secrets."""
    hidden = dict.fromkeys(request["secretHeaders"], _HIDDEN)
    shown = {
        "url": request["url"],
        "method": request["method"],
        "headers": {**request["headers"], **hidden},
        "data": {} if request["body"] is None else request["body"],
        "params": request["params"],
    }
    if request["expression"]:
        shown["bodyExpression"] = request["expression"]
    if request["secretHeaders"]:
        shown["secretHeaders"] = request["secretHeaders"]
    return shown


def shown_security(security: Mapping[str, str] | None) -> dict[str, Any]:
    """Return a security as answers show it, without its secret; ``data`` is for eventhos's web page."""
    if security is None:
        return {"type": CUSTOM, "httpConfiguration": {}}
    id = security["clientId"]
    data = {"client_id": id, "client_secret": _HIDDEN}
    return {"type": OAUTH2, "httpConfiguration": {"url": security["url"], "client_id": id, "data": data}}


def _body(sent: Mapping[str, Any]) -> Any:
    """Return the body's template; None: the body of the event is passed on."""
    body = sent["raw_body"]
    if isinstance(body, str):
        try:
            body = orjson.loads(body) if body.strip() else None
        except orjson.JSONDecodeError as error:
            raise _refusal(f"rawBody: it is no JSON: {error}") from None
    if body is None:
        body = {each["key"]: each["value"] for each in sent["members"] or ()}
    return None if body == {} else body


def _check_size(request: Mapping[str, Any]) -> None:
    """Check that a request is read and compiled fast: that is done for events."""
    try:
        text = orjson.dumps(request)
    except orjson.JSONEncodeError:
        raise _refusal("rawBody: it is nested too deep") from None
    if len(text) > _LARGEST:
        raise _refusal(f"the request: more than {_LARGEST} bytes")
    if text.count(b"${") > _MOST_PLACEHOLDERS:
        raise _refusal(f"the request: more than {_MOST_PLACEHOLDERS} placeholders")


def _check_expression(expression: str) -> None:
    try:
        Expression(expression)
    except ExpressionError as error:
        raise _refusal(f"bodyExpression: {error}") from None


def _refusal(message: str) -> EventhosError:
    return EventhosError(400, MALFORMED, message)
