"""Calls of actions: renders the request for an event, gets a token if the action needs one, and makes the call."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson

from extension_kit.protocol import Answer, CallFailed, HttpCalls

from .bounded_cache import BoundedCache
from .expressions import Expression, ExpressionError
from .masking import MASK, without
from .nesting import write_nested
from .oauth2 import START_DATE, Token, Tokens
from .paths import MISSING
from .request_templates import Request, RequestTemplate
from .rows import iso
from .settings import EventhosSettings
from .templates import Missing, TemplateError

logger = logging.getLogger("extension_kit.eventhos")

MOST_ANSWER_BYTES = 1024 * 1024
"""Maximum bytes to read of an answer's body."""

_MOST_COMPILED = 1000
_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie"})
_UNAUTHORIZED = 401


@dataclass(frozen=True)
class Action:
    """An action as it is called.

    Attributes:
        key: its number and the time of its last change, so that a changed action is compiled again.
        request: its template, as ``actions.request`` holds it.
        security: URL and credentials of its token endpoint; None without.
    """

    key: tuple[int, datetime]
    request: Mapping[str, Any]
    security: Mapping[str, str] | None


@dataclass(frozen=True)
class Result:
    """The result of one call.

    Attributes:
        error: why it failed; None: it succeeded.
        request: as it was sent, without credentials: ``method``, ``url``, ``headers``, ``body``, ``params``.
        response: ``status``, ``statusText``, ``headers``, ``body``, ``startTime`` and ``endTime``.
        seconds: how long it took.
        is_whole: False if the body of ``response`` is only the beginning of the answer's.
    """

    error: str | None
    request: dict[str, Any]
    response: dict[str, Any]
    seconds: float
    is_whole: bool = True


class Calls:
    """Makes the calls of actions.

    Args:
        http: makes requests, to checked addresses only.
        settings: the time limit, and the text for missing values.
    """

    def __init__(self, http: HttpCalls, settings: EventhosSettings) -> None:
        self._http = http
        self._settings = settings
        self._tokens = Tokens(http)
        self._compiled: BoundedCache[_Compiled] = BoundedCache(_MOST_COMPILED)

    def make(self, action: Action, values: Mapping[str, Any]) -> Result:
        """Call an action for an event. A failure is a result, not an exception.

        Args:
            action: the action.
            values: ``headers``, ``query``, ``body`` and ``url`` of the event.
        """
        began = datetime.now(UTC)
        sent: dict[str, Any] = {}
        try:
            answer = self._call(action, values, sent)
        except TemplateError as error:
            reason = str(error)
            return _result(began, f"the request cannot be made: {reason}", sent, "TEMPLATE", reason)
        except CallFailed as error:
            return _result(began, str(error), sent, error.code or "ERROR", str(error))
        body = _content(answer)
        is_success = HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES
        error_text = None if is_success else f"answered {answer.status}"
        headers = {name: MASK if name.lower() == "set-cookie" else value for name, value in answer.headers}
        result = _result(began, error_text, sent, answer.status, _phrase(answer.status), headers, body)
        return result if answer.complete else replace(result, is_whole=False)

    def _call(self, action: Action, values: Mapping[str, Any], sent: dict[str, Any]) -> Answer:
        """Make the call, within one time limit for it and its token; ``sent`` gets the last request, for the log."""
        compiled = self._compiled.get(action.key)
        if compiled is None:
            compiled = _Compiled(action.request)
            self._compiled.put(action.key, compiled)
        ends_at = time.monotonic() + self._settings.timeout
        if action.security is None:
            return self._send(compiled, values, sent, ends_at)
        token = self._tokens.get(action.key, action.security, sent, ends_at)
        answer = self._send(compiled, values, sent, ends_at, token)
        if answer.status == _UNAUTHORIZED and not token.is_fresh:
            self._tokens.drop(action.key)
            token = self._tokens.get(action.key, action.security, sent, ends_at)
            answer = self._send(compiled, values, sent, ends_at, token)
        return answer

    def _send(
        self,
        compiled: "_Compiled",
        values: Mapping[str, Any],
        sent: dict[str, Any],
        ends_at: float,
        token: Token | None = None,
    ) -> Answer:
        seen = values if token is None else {**values, "oauthResponse": token.response}
        request = compiled.render(seen, self._settings.missing)
        body = None if request.body is MISSING else _written(request.body)
        headers = {
            "Accept": "application/json, text/plain, */*",
            START_DATE: iso(datetime.now(UTC)),
            **({"Content-Type": "application/json"} if body is not None else {}),
            **request.headers,
        }
        logged = {
            "method": request.method,
            "url": request.url,
            "headers": {name: MASK if name.lower() in compiled.secret else value for name, value in headers.items()},
            "body": None if request.body is MISSING else request.body,
        }
        sent.clear()
        sent.update(logged if token is None else without(logged, token.secrets))
        return self._http.call(
            request.method,
            request.url,
            headers=headers,
            body=body,
            timeout=ends_at - time.monotonic(),
            limit=MOST_ANSWER_BYTES,
        )


class _Compiled:
    def __init__(self, stored: Mapping[str, Any]) -> None:
        self._template = RequestTemplate(
            stored["method"], stored["url"], stored["headers"], stored["params"], stored["body"]
        )
        expression = stored["expression"]
        self._expression = Expression(expression) if expression else None
        self.secret = _CREDENTIALS | {name.lower() for name in stored["secretHeaders"]}

    def render(self, values: Mapping[str, Any], missing: Missing) -> Request:
        request = self._template.render(values, missing)
        if self._expression is None:
            return request
        try:
            body = self._expression.find(values)
        except ExpressionError as error:
            raise TemplateError("bodyExpression", str(error)) from None
        return Request(request.method, request.url, request.headers, body)


def _content(answer: Answer) -> Any:
    """Return the body of an answer: the JSON value, or the text of anything else; an empty object without one."""
    if not answer.body:
        return {}
    try:
        value = orjson.loads(answer.body)
        write_nested(value)
    except (orjson.JSONDecodeError, TypeError):
        return answer.body.decode(errors="replace")
    return value


def _written(body: Any) -> bytes:
    try:
        return write_nested(body)
    except TypeError:
        raise TemplateError("body", "the value of the event is nested too deep") from None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _result(
    began: datetime,
    error: str | None,
    sent: dict[str, Any],
    status: int | str,
    text: str,
    headers: dict[str, str] | None = None,
    body: Any = None,
) -> Result:
    ended = datetime.now(UTC)
    response = {
        "status": status,
        "statusText": text,
        "headers": headers or {},
        "body": {} if body is None else body,
        "startTime": began.isoformat(),
        "endTime": ended.isoformat(),
    }
    return Result(error, sent, response, (ended - began).total_seconds())
