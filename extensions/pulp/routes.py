"""All routes of Pulp's API: event listeners, their deliveries, and notifications of Pulp servers."""

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any, get_args

from flask import Blueprint, Response, request

from extension_kit.protocol import (
    Delivery,
    DeliveryStatus,
    Kit,
    NotAnObject,
    NotJson,
    Routes,
    read_json,
    received_request,
    subscription_groups,
)

from .answers import BASE, PulpError, answer, answer_error, href, invalid, not_an_object, not_json
from .document import build_document
from .encryption import Passwords
from .event_types import all_types
from .inbox import INBOX, Inbox
from .listeners import SOURCE, Listener, Listeners
from .settings import PulpSettings
from .users import Users

EVENTS = "/v2/events/"
PREFIXES = ("/v2", "/pulp")
"""Prefixes of all paths."""

_NAMESPACE = "event_listeners"
_STATUSES: tuple[DeliveryStatus, ...] = get_args(DeliveryStatus)


def routes(kit: Kit, settings: PulpSettings) -> Routes:
    """Make the routes.

    Raises:
        SettingError: an event type of the settings is unknown, or there is no secret.
    """
    users = Users(kit, settings)
    views = _Views(kit, settings, users)
    blueprint = Blueprint("pulp", __name__)
    blueprint.register_error_handler(PulpError, answer_error)  # expected, so no log line
    blueprint.register_error_handler(NotJson, lambda error: answer_error(not_json()))
    blueprint.register_error_handler(NotAnObject, lambda error: answer_error(not_an_object()))
    for prefix, name in (("", "short"), (BASE, "long")):
        _add(blueprint, f"{prefix}{EVENTS}", f"{name}_list", {"GET": views.list, "POST": views.create})
        resource = {"GET": views.get, "PUT": views.update, "DELETE": views.delete}
        _add(blueprint, f"{prefix}{EVENTS}<id>/", f"{name}_one", resource)
        _add(blueprint, f"{prefix}{EVENTS}<id>/deliveries/", f"{name}_deliveries", {"GET": views.deliveries})
    blueprint.add_url_rule(
        INBOX,
        "notify_options",
        partial(_options, ["POST"]),
        methods=["OPTIONS"],
        strict_slashes=False,
        provide_automatic_options=False,
    )
    _add(blueprint, f"{BASE}/openapi.json", "openapi", {"GET": views.openapi})
    return Routes(blueprint, PREFIXES, answer_error, grouped=(Inbox(settings, users).route,))


def _add(blueprint: Blueprint, path: str, name: str, views: dict[str, Callable[..., Response]]) -> None:
    """Add a path, with and without its slash at the end: a redirect would make a POST a GET."""

    def dispatch(**arguments: str) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        if method == "OPTIONS":
            return _options([*views, *(["HEAD"] if "GET" in views else [])])
        return views[method](**arguments)

    # Two rules, because werkzeug answers 404 to a wrong method where strict_slashes is off.
    for each in dict.fromkeys((path, path.rstrip("/"))):
        blueprint.add_url_rule(each, name, dispatch, methods=[*views, "OPTIONS"], provide_automatic_options=False)


def _options(methods: Iterable[str]) -> Response:
    allowed = ", ".join([*methods, "OPTIONS"])
    return Response(status=200, headers={"Allow": allowed}, content_type="text/html; charset=utf-8")


class _Views:
    def __init__(self, kit: Kit, settings: PulpSettings, users: Users) -> None:
        self._kit = kit
        self._settings = settings
        types = all_types(settings.event_types, kit.event_names)
        self._listeners = Listeners(kit, Passwords(kit, settings), types, hide_passwords=settings.hide_passwords)
        self._users = users
        self._document = build_document(types, require_config=settings.require_config)

    def list(self) -> Response:
        self._users.authorize(received_request(), "read")
        return self._conditional([_shown(listener) for listener in self._listeners.all()])

    def create(self) -> Response:
        self._users.authorize(received_request(), "create")
        if replaces := _is_upsert():
            self._users.authorize(received_request(), "update")
        listener = self._listeners.create(read_json(), require_config=self._settings.require_config, replace=replaces)
        shown = _shown(listener)
        created = answer(shown, 201)
        created.status = "201 CREATED"
        created.headers["Location"] = shown["_href"]
        created.autocorrect_location_header = False
        return created

    def get(self, id: str) -> Response:
        self._users.authorize(received_request(), "read")
        return self._conditional(_shown(self._listeners.get(id)))

    def update(self, id: str) -> Response:
        self._users.authorize(received_request(), "update")
        self._listeners.check(id)  # an unknown listener is named before a malformed body
        return answer(_shown(self._listeners.update(id, read_json(may_be_empty=True))))

    def delete(self, id: str) -> Response:
        self._users.authorize(received_request(), "delete")
        self._listeners.remove(id)
        return answer(None)

    def deliveries(self, id: str) -> Response:
        """List the deliveries of a listener, newest first, outside of Pulp's own API."""
        self._users.authorize(received_request(), "read")
        self._listeners.check(id)
        status = request.args.get("status")
        if status not in (None, *_STATUSES):
            raise invalid("status")
        with self._kit.read() as connection:
            found = subscription_groups.deliveries(
                connection,
                SOURCE,
                id,
                status=status,
                before=_whole_number("before", 1, 2**63 - 1),
                limit=_whole_number("limit", 1, 1000) or 100,
            )
        return answer([_delivery(each) for each in found])

    def openapi(self) -> Response:
        return answer(self._document)

    def _conditional(self, content: Any) -> Response:
        made = answer(content)
        made.add_etag()
        made.make_conditional(request)
        return made


def _shown(listener: Listener) -> dict[str, Any]:
    return {
        "_href": href(f"{EVENTS}{listener.id}/"),
        "_id": {"$oid": listener.id},
        "_ns": _NAMESPACE,
        "event_types": listener.event_types,
        "id": listener.id,
        "notifier_config": listener.config,
        "notifier_type_id": listener.notifier,
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    attempt = delivery.last_attempt
    return {
        "delivery": delivery.ref,
        "event_id": delivery.event_id,
        "event_type": delivery.event_name,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "error": delivery.error,
        "answer": None if attempt is None else attempt.status,
        "excerpt": None if attempt is None else attempt.excerpt,
        "created": _iso(delivery.created_at),
        "due": _iso(delivery.due_at),
        "ended": _iso(delivery.ended_at),
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _whole_number(name: str, low: int, high: int) -> int | None:
    """Return a whole number of the query, or None.

    Raises:
        PulpError: 400, it is not one within these limits.
    """
    if (text := request.args.get(name)) is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise invalid(name)
    return int(text)


def _is_upsert() -> bool:
    """Return True if the query asks for an upsert.

    Raises:
        PulpError: 400, it says neither ``true`` nor ``false``.
    """
    text = request.args.get("upsert", "false")
    if text not in ("true", "false"):
        raise invalid("upsert")
    return text == "true"
