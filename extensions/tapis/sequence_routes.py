"""The routes of test sequences (Tapis Notifications, live docs: Test)."""

import re

import orjson
from flask import Response, request

from extension_kit.protocol import read_json

from . import sequences, subscriptions
from .api import Api
from .envelope import ApiError, bad_request, success
from .paging import ATTRIBUTES, boolean, whole_number
from .schemas import MAX_TTL, Notification

_DEFAULT_TTL = "60"
_LARGEST_NOTIFICATION = 64 * 1024
_INSECURE = re.compile(r"http://(?=([^/]+\.)?tapis\.io$)")


def add_sequence_routes(api: Api) -> None:
    """Add the routes of test sequences to the blueprint of the API."""
    schema = Notification()

    def begin() -> Response:
        caller, parameters = api.caller(), api.query()
        api.access.require_service(caller, "NTFLIB_UNAUTH", "begin test sequences")
        ttl = whole_number(parameters.get("subscriptionTTL") or _DEFAULT_TTL, "subscriptionTTL", -MAX_TTL, MAX_TTL)
        number = whole_number(parameters.get("numberOfEvents") or "1", "numberOfEvents", 1, sequences.MAX_EVENTS)
        ends_series = boolean(parameters, "endSeries", default=True)
        with api.kit.transaction() as transaction:
            row = sequences.begin(
                transaction,
                api.kit,
                api.settings,
                caller,
                base_url=api.settings.base_url or _INSECURE.sub("https://", request.host_url.rstrip("/")),
                ttl_minutes=ttl,
                number_of_events=number,
                ends_series=ends_series,
            )
        result = subscriptions.to_json(row, ATTRIBUTES)
        return success("NTFAPI_SUBSCR_CREATED", f"Test sequence begun: {row.name}", caller, result)

    def get(name: str) -> Response:
        caller = api.caller()
        with api.kit.read() as connection:
            row = sequences.find(connection, caller.tenant, name.replace("\x00", ""))
            if row is None:
                raise ApiError(404, "NTFAPI_NOT_FOUND", f"there is no test sequence {name:.80} {caller}")
            api.access.require_access(caller, row.owner)
            result = sequences.to_json(connection, row)
        return success("NTFAPI_TEST_FOUND", f"Test sequence found: {name}", caller, result)

    def delete(name: str) -> Response:
        caller = api.caller()
        api.access.require_service(caller, "NTFLIB_UNAUTH", "remove test sequences")
        with api.kit.transaction() as transaction:
            # Locked before its series, in the same order as by the task that publishes its next event.
            row = sequences.find(transaction.connection, caller.tenant, name.replace("\x00", ""), lock=True)
            if row is not None:
                sequences.remove(transaction, api.kit, api.settings, row)
        changes = 0 if row is None else 1
        return success("NTFAPI_TEST_DELETED", f"Test sequences deleted: {changes}", caller, {"changes": changes})

    def record(name: str) -> Response:
        if len(request.get_data()) > _LARGEST_NOTIFICATION:
            raise bad_request(f"a test notification has {_LARGEST_NOTIFICATION} bytes at most")
        api.body(schema)
        body = read_json()  # with the keys that the schema does not have
        try:
            orjson.dumps({"result": {"receivedNotifications": [body]}})  # the nesting of the answer to get
        except TypeError:
            raise bad_request("the test notification is nested too deep") from None
        sequences.record(api.kit, name.replace("\x00", ""), body)
        return success("NTFAPI_TEST_RECORDED", f"Notification recorded for {name}", None)

    api.route("beginTestSequence", begin)
    api.route("getTestSequence", get)
    api.route("deleteTestSequence", delete)
    api.route("recordTestNotification", record)
