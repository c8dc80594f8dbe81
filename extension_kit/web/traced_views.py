"""Traced views: views of protocols' routes, called in the spans of their requests."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from flask import Flask, Response, current_app, request

from extension_kit.observability import tracing
from extension_kit.observability.request_spans import request_span

View = Callable[..., Any]


def call_view(view: View, make_error: Callable[[Exception], Response], **arguments: Any) -> Any:
    """Call a view in the span of the current request; without tracing, as it is.

    Args:
        view: the view.
        make_error: makes the answer to an error of the current request.
        arguments: of the view.
    """
    if tracing.spans is None or request.url_rule is None:
        return view(**arguments)
    parent = request.headers.get("traceparent", ""), request.headers.get("tracestate", "")
    with request_span(request.method, request.url_rule.rule, *parent) as span:
        try:
            response = current_app.make_response(view(**arguments))
        except Exception as error:
            response = make_error(error)
        span.status = response.status_code
        return response


def trace_views(app: Flask, blueprint: str, make_error: Callable[[Exception], Response]) -> None:
    """Have the views of a registered blueprint called in the spans of their requests.

    Args:
        app: the application.
        blueprint: the name of the blueprint.
        make_error: as of ``call_view``.
    """
    for endpoint, view in app.view_functions.items():
        if endpoint.startswith(f"{blueprint}."):
            app.view_functions[endpoint] = update_wrapper(partial(call_view, view, make_error), view)
