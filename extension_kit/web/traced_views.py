"""Traced views: views of protocols' routes, called in the spans of their requests."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from flask import Flask, current_app, request

from extension_kit.observability import tracing
from extension_kit.observability.request_spans import request_span

View = Callable[..., Any]


def call_view(view: View, **arguments: Any) -> Any:
    """Call a view in the span of the current request; without tracing, as it is.

    Args:
        view: the view. The application answers its errors, as it would without the span.
        arguments: of the view.
    """
    if tracing.spans is None or request.url_rule is None:
        return view(**arguments)
    parent = request.headers.get("traceparent", ""), request.headers.get("tracestate", "")
    with request_span(request.method, request.url_rule.rule, *parent) as span:
        try:
            response = current_app.make_response(view(**arguments))
        except Exception as error:
            response = current_app.make_response(current_app.handle_user_exception(error))
        span.status = response.status_code
        return response


def trace_views(app: Flask, blueprint: str) -> None:
    """Have the views of a registered blueprint called in the spans of their requests.

    Args:
        app: the application.
        blueprint: the name of the blueprint.
    """
    for endpoint, view in app.view_functions.items():
        if endpoint.startswith(f"{blueprint}."):
            app.view_functions[endpoint] = update_wrapper(partial(call_view, view), view)
