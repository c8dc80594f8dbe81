"""Hooks of an application: everything by which its user, or a library, takes part in a request of Flask.

The fast path answers without Flask, so it asks here, for each request, whether anybody would miss Flask. Handlers of
errors do not count: the fast path calls them, too.
"""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from flask import Flask, signals

_SIGNALS = (
    signals.appcontext_pushed,
    signals.request_started,
    signals.request_finished,
    signals.request_tearing_down,
    signals.appcontext_tearing_down,
    signals.appcontext_popped,
    signals.got_request_exception,
)

_PARTS = frozenset(
    (
        "wsgi_app",
        "app_context",
        "request_context",
        "create_url_adapter",
        "full_dispatch_request",
        "preprocess_request",
        "dispatch_request",
        "ensure_sync",
        "make_response",
        "finalize_request",
        "process_response",
        "do_teardown_request",
        "do_teardown_appcontext",
        "handle_user_exception",
        "handle_exception",
        "handle_http_exception",
        "log_exception",
        "raise_routing_exception",
        "request_class",
        "response_class",
        "session_interface",
        "app_ctx_globals_class",
    )
)
"""Attributes of ``Flask`` that take part in a request."""


class Hooks:
    """The hooks of an application.

    Args:
        app: the application, with no hooks but these.
        before: called before each request.
        after: called after each request.
    """

    def __init__(self, app: Flask, before: Callable[..., Any], after: Callable[..., Any]) -> None:
        self._app = app
        self._before = [before]
        self._after = [after]
        self._replaceable = _PARTS - {"wsgi_app"}
        self._is_patched = not all(map(_is_of_flask, _PARTS))

    def are_own(self, endpoint: str, view: Callable[..., Any], blueprints: Sequence[str]) -> bool:
        """Return True if a request meets no hooks but the application's own, now.

        Args:
            endpoint: the name of the request's view.
            view: its own view.
            blueprints: the names of its blueprints.
        """
        app = self._app
        config = app.config
        return (
            app.view_functions.get(endpoint) == view
            and app.before_request_funcs.get(None) == self._before
            and app.after_request_funcs.get(None) == self._after
            and not app.teardown_request_funcs.get(None)
            and not app.teardown_appcontext_funcs
            and not app.url_value_preprocessors.get(None)
            and not any(_has_own(app, blueprint) for blueprint in blueprints)
            and not any(signal.receivers for signal in _SIGNALS)
            and vars(app).keys().isdisjoint(self._replaceable)
            and not config.get("DEBUG")
            and config.get("TRUSTED_HOSTS") is None
            and not self._is_patched
        )


def _has_own(app: Flask, blueprint: str) -> bool:
    """Return True if a blueprint has hooks of its own."""
    return bool(
        app.before_request_funcs.get(blueprint)
        or app.after_request_funcs.get(blueprint)
        or app.teardown_request_funcs.get(blueprint)
        or app.url_value_preprocessors.get(blueprint)
    )


def _is_of_flask(name: str) -> bool:
    """Return True if an attribute of ``Flask`` is its own: tools that observe applications replace functions."""
    found = getattr(Flask, name, None)  # versions differ
    if not callable(found) or isinstance(found, type):
        return True
    return isinstance(found, FunctionType) and found.__globals__["__name__"].startswith("flask.")
