"""Spans of calls to other systems: each is a child of the current span, such as that of an attempt.

A request has the trace context of its span in its headers ``traceparent`` and ``tracestate``, so that the other system
continues the trace. Without tracing a call is made as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from urllib3 import HTTPHeaderDict

from extension_kit.observability import tracing
from extension_kit.senders import Message, Outcome
from extension_kit.senders.http_client import HttpAnswer, HttpRequest

Send = Callable[[Any, dict[str, Any], Message], Outcome]


def traced_exchange(ask: Callable[[HttpRequest], HttpAnswer], request: HttpRequest) -> HttpAnswer:
    """Make an HTTP request by ``ask``, raise its errors, and return the answer."""
    if (spans := tracing.spans) is None:
        return ask(request)
    attributes: dict[str, str | int] = {
        "http.request.method": request.method,
        "url.scheme": request.scheme,
        "server.address": request.host,
        "server.port": request.port,
    }
    with spans.call(request.method, "client", attributes) as span:
        if "traceparent" not in request.headers:
            headers = HTTPHeaderDict(request.headers)
            headers.update(spans.current_headers())
            request = request._replace(headers=headers)
        answer = ask(request)
        span.set_attribute("http.response.status_code", answer.status)
        if answer.status >= 400:
            spans.fail(span, f"{answer.status}", None)
        return answer


def traced(name: str, attributes: Mapping[str, str], *, with_headers: bool) -> Callable[[Send], Send]:
    """Return a decorator for the ``send`` of a sender.

    Args:
        name: of its spans.
        attributes: of its spans.
        with_headers: True if the headers of a message have its trace context.
    """

    def decorate(send: Send) -> Send:
        def send_traced(self: Any, target: dict[str, Any], message: Message) -> Outcome:
            if (spans := tracing.spans) is None:
                return send(self, target, message)
            with spans.call(name, "producer", attributes) as span:
                if with_headers and "traceparent" not in message.headers:
                    message = replace(message, headers={**message.headers, **spans.current_headers()})
                outcome = send(self, target, message)
                if outcome.result != "delivered":
                    spans.fail(span, f"{outcome.status or outcome.result}", outcome.error)
                return outcome

        send_traced.__doc__ = send.__doc__
        return send_traced

    return decorate
