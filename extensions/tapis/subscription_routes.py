"""The routes of subscriptions (Tapis Notifications, live docs: Subscriptions)."""

from collections.abc import Callable, Sequence
from uuid import UUID

from flask import Response, request
from sqlalchemy import ColumnElement, Connection

from . import subscriptions
from .api import Api
from .delivery_targets import Targets
from .envelope import ApiError, bad_request, success
from .paging import ALL, PARAMETERS, Page, selected, whole_number
from .schemas import MAX_TTL, ReqPatchSubscription, ReqPostSubscription, ReqSearchSubscriptions
from .search import condition, parse_search
from .selector import parse_selector
from .subscriptions import Subscription
from .tokens import Caller

Change = Callable[[Targets, Connection, Subscription], None]


def add_subscription_routes(api: Api) -> None:
    """Add the routes of subscriptions to the blueprint of the API."""
    views = _Views(api)
    api.route("getSubscriptions", views.list_all)
    api.route("postSubscription", views.create)
    api.route("searchSubscriptionsQueryParameters", views.search)
    api.route("searchSubscriptionsRequestBody", views.search_by_body)
    api.route("getSubscriptionByName", views.get)
    api.route("patchSubscriptionByName", views.patch)
    api.route("deleteSubscriptionByName", views.delete)
    api.route("getSubscriptionByUuid", views.get_by_uuid)
    api.route("deleteSubscriptionByUuid", views.delete_by_uuid)
    api.route("deleteSubscriptionsBySubject", views.delete_by_subject)
    api.route("isEnabled", views.is_enabled)
    api.route("enableSubscription", views.enable)
    api.route("disableSubscription", views.disable)
    api.route("updateTTL", views.update_ttl)


class _Views:
    """The views of subscriptions, each named like its operation."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._is_sqlite = api.kit.database.is_sqlite
        self._post_schema = ReqPostSubscription()
        self._patch_schema = ReqPatchSubscription()
        self._search_schema = ReqSearchSubscriptions()

    def create(self) -> Response:
        caller = self._api.caller()
        self._api.access.require_service(caller, "NTFAPI_SUBSCR_UNAUTH", "make subscriptions")
        wanted = self._api.body(self._post_schema)
        try:
            with self._api.kit.transaction() as transaction:
                targets = self._targets(transaction.connection)
                row = subscriptions.create(targets, transaction.connection, caller, wanted)
        except ApiError as error:
            if error.status == 409:
                error.result = {"url": f"{_url()}/byName/{wanted['name']}"}
            raise
        url = {"url": f"{_url()}/{row.name}"}
        return success("NTFAPI_SUBSCR_CREATED", f"Subscription created: {row.name}", caller, url, status=201)

    def list_all(self) -> Response:
        caller, parameters = self._api.caller(), self._api.query()
        text = parameters.get("search", "")
        conditions = parse_search(text, is_sqlite=self._is_sqlite) if text else []
        return self._list(caller, conditions)

    def search(self) -> Response:
        caller, parameters = self._api.caller(), self._api.query()
        conditions = [
            condition(key, value, is_sqlite=self._is_sqlite)
            for key, value in parameters.items()
            if key not in PARAMETERS
        ]
        return self._list(caller, conditions)

    def search_by_body(self) -> Response:
        caller = self._api.caller()
        text = " ".join(self._api.body(self._search_schema)["search"])
        return self._list(caller, [parse_selector(text, is_sqlite=self._is_sqlite)])

    def get(self, name: str) -> Response:
        caller, parameters = self._api.caller(), self._api.query()
        owner = self._api.access.owner(caller, parameters)
        with self._api.kit.read() as connection:
            row = _found(subscriptions.find(connection, caller.tenant, owner, _name(name)), name, caller)
        return self._answer(caller, row)

    def get_by_uuid(self, uuid: str) -> Response:
        caller, uuid = self._api.caller(), _uuid(uuid)
        with self._api.kit.read() as connection:
            row = subscriptions.find_by_uuid(connection, caller.tenant, uuid)
        if row is None:
            raise ApiError(404, "NTFAPI_NOT_FOUND_BY_UUID", f"there is no subscription {uuid} {caller}")
        self._api.access.require_access(caller, row.owner)
        return self._answer(caller, row)

    def patch(self, name: str) -> Response:
        caller = self._api.caller()
        wanted = self._api.body(self._patch_schema)

        def change(targets: Targets, connection: Connection, row: Subscription) -> None:
            subscriptions.patch(targets, connection, row, wanted)

        self._change(caller, name, change)
        return success("NTFAPI_SUBSCR_UPDATED", f"Subscription updated: {name}", caller, {"url": _url()})

    def delete(self, name: str) -> Response:
        caller, parameters = self._api.caller(), self._api.query()
        owner = self._api.access.owner(caller, parameters)
        with self._api.kit.transaction() as transaction:
            connection = transaction.connection
            row = subscriptions.find(connection, caller.tenant, owner, _name(name), lock=True)
            if row is not None:
                subscriptions.remove(self._targets(connection), connection, row)
        return _deleted(caller, 0 if row is None else 1)

    def delete_by_uuid(self, uuid: str) -> Response:
        caller, uuid = self._api.caller(), _uuid(uuid)
        with self._api.kit.transaction() as transaction:
            connection = transaction.connection
            row = subscriptions.find_by_uuid(connection, caller.tenant, uuid, lock=True)
            if row is not None:
                self._api.access.require_access(caller, row.owner)
                subscriptions.remove(self._targets(connection), connection, row)
        return _deleted(caller, 0 if row is None else 1)

    def delete_by_subject(self, subject: str) -> Response:
        caller, parameters = self._api.caller(), self._api.query()
        owner = self._api.access.owner_or_any(caller, parameters)
        with self._api.kit.transaction() as transaction:
            connection = transaction.connection
            changes = subscriptions.remove_by_subject(
                self._targets(connection), connection, caller.tenant, owner, _name(subject)
            )
        return _deleted(caller, changes)

    def is_enabled(self, name: str) -> Response:
        caller, parameters = self._api.caller(), self._api.query()
        owner = self._api.access.owner(caller, parameters)
        with self._api.kit.read() as connection:
            row = _found(subscriptions.find(connection, caller.tenant, owner, _name(name)), name, caller)
        return success("NTFAPI_SUBSCR_FOUND", f"Subscription found: {name}", caller, {"aBool": row.enabled})

    def enable(self, name: str) -> Response:
        return self._set_enabled(name, enabled=True)

    def disable(self, name: str) -> Response:
        return self._set_enabled(name, enabled=False)

    def update_ttl(self, name: str, ttlMinutes: str) -> Response:  # noqa: N803 (as in the path)
        caller = self._api.caller()
        ttl = whole_number(ttlMinutes, "ttlMinutes", -MAX_TTL, MAX_TTL)

        def change(targets: Targets, connection: Connection, row: Subscription) -> None:
            subscriptions.set_ttl(targets, connection, row, ttl)

        self._change(caller, name, change)
        return _updated(caller, name)

    def _set_enabled(self, name: str, *, enabled: bool) -> Response:
        caller = self._api.caller()

        def change(targets: Targets, connection: Connection, row: Subscription) -> None:
            subscriptions.enable(targets, connection, row, enabled=enabled)

        self._change(caller, name, change)
        return _updated(caller, name)

    def _change(self, caller: Caller, name: str, change: Change) -> None:
        """Change a subscription within a transaction, locked."""
        owner = self._api.access.owner(caller, self._api.query())
        with self._api.kit.transaction() as transaction:
            connection = transaction.connection
            found = subscriptions.find(connection, caller.tenant, owner, _name(name), lock=True)
            change(self._targets(connection), connection, _found(found, name, caller))

    def _list(self, caller: Caller, conditions: Sequence[ColumnElement[bool]]) -> Response:
        parameters = self._api.query()
        owner = self._api.access.owner_or_any(caller, parameters)
        page = Page.of(parameters)
        with self._api.kit.read() as connection:
            rows, total = subscriptions.find_all(connection, caller.tenant, owner, conditions, page)
        return success(
            "NTFAPI_SUBSCR_FOUND",
            f"Subscriptions found: {len(rows)}",
            caller,
            [subscriptions.to_json(row, page.select) for row in rows],
            metadata=page.metadata(len(rows), total),
        )

    def _answer(self, caller: Caller, row: Subscription) -> Response:
        result = subscriptions.to_json(row, selected(self._api.query(), ALL))
        return success("NTFAPI_SUBSCR_FOUND", f"Subscription found: {row.name}", caller, result)

    def _targets(self, connection: Connection) -> Targets:
        return Targets(connection, self._api.kit, self._api.settings)


def _url() -> str:
    """Return the URL of the request, without a slash at its end."""
    return request.base_url.rstrip("/")


def _name(text: str) -> str:
    """Return the name of a path.

    Raises:
        ApiError: 400, it holds the character U+0000, which PostgreSQL cannot store.
    """
    if "\x00" in text:
        raise bad_request("a name must not hold the character U+0000")
    return text


def _found(row: Subscription | None, name: str, caller: Caller) -> Subscription:
    if row is None:
        raise ApiError(404, "NTFAPI_NOT_FOUND", f"there is no subscription called {name:.200} {caller}")
    return row


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise bad_request(f"{text:.80} is no UUID") from None


def _updated(caller: Caller, name: str) -> Response:
    return success("NTFAPI_SUBSCR_UPDATED", f"Subscription updated: {name}", caller, {"changes": 1})


def _deleted(caller: Caller, changes: int) -> Response:
    return success("NTFAPI_SUBSCR_DELETED", f"Subscriptions deleted: {changes}", caller, {"changes": changes})
