"""API views of actions: replay, discard and try now by number or by filter, cancel, pause and resume."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, g
from jsonschema_rs import Draft202012Validator
from werkzeug.exceptions import BadRequest

from extension_kit.deliveries.action_rows import DISCARD, REPLAY, RETRY_NOW, action_of
from extension_kit.deliveries.queries import Filter
from extension_kit.event_log.actions import Actions
from extension_kit.event_log.api_answers import answer, arguments, missing, read_body
from extension_kit.event_log.api_records import action_record
from extension_kit.event_log.api_schemas import ACTION_REQUEST, RECEIVER_REQUEST
from extension_kit.event_log.choice import choose
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.filters import delivery_filter
from extension_kit.event_log.receiver_actions import pause_receiver, resume_receiver

# `_wanted` says in a sentence which of the keys go together.
_OF_DELIVERIES = Draft202012Validator({**ACTION_REQUEST, "oneOf": [{}]}, mask="it")
_OF_RECEIVERS = Draft202012Validator(RECEIVER_REQUEST, mask="it")


def add_action_views(api: Blueprint, log: EventLog, actions: Actions) -> None:
    """Add the views that change something.

    Args:
        api: the blueprint of the API.
        log: the database and the extensions.
        actions: those of this process.
    """

    @api.post("/deliveries/replay")
    def replay() -> Response:
        return act(REPLAY)

    @api.post("/deliveries/discard")
    def discard() -> Response:
        return act(DISCARD)

    @api.post("/deliveries/retry-now")
    def retry_now() -> Response:
        return act(RETRY_NOW)

    def act(kind: str) -> Response:
        arguments(())
        body = read_body(_OF_DELIVERIES)
        choice = choose(kind, _wanted(body))
        return going_on(actions.begin(choice, body.get("expected"), g.viewer.name))

    @api.post("/actions/<int:ref>/cancel")
    def cancel(ref: int) -> Response:
        arguments(())
        with log.database.read() as connection:
            if action_of(connection, ref) is None:
                return missing("action", ref)
        actions.cancel(ref, g.viewer.name)
        return going_on(ref)

    def going_on(ref: int) -> Response:
        with log.database.read() as connection:
            row = action_of(connection, ref)
        if row is None:  # retention keeps so many only
            return missing("action", ref)
        return answer(action_record(row, datetime.now(UTC)), 202, Location=f"/api/actions/{ref}")

    @api.post("/receivers/pause")
    def pause() -> Response:
        return change_receiver(pause_receiver, is_paused=True)

    @api.post("/receivers/resume")
    def resume() -> Response:
        return change_receiver(resume_receiver, is_paused=False)

    def change_receiver(change: Callable[[EventLog, str, str], bool], *, is_paused: bool) -> Response:
        arguments(())
        key = read_body(_OF_RECEIVERS)["listener"]
        has_changed = change(log, key, g.viewer.name)
        return answer({"listener": key, "is_paused": is_paused, "has_changed": has_changed})


def _wanted(body: dict[str, Any]) -> Filter:
    """Return the filter of a body with numbers, or with a filter and the number that is expected to match.

    Raises:
        BadRequest: it has both, or neither, or a filter without the number.
        BadFilter: a condition of the filter is not allowed.
    """
    if ("refs" in body) == ("filter" in body):
        raise BadRequest("The body has either `refs`, numbers of deliveries, or `filter` and `expected`.")
    if "refs" in body:
        return Filter(refs=tuple(sorted({int(ref) for ref in body["refs"]})))  # 7.0 is a whole number, too
    if "expected" not in body:
        raise BadRequest("The body has no `expected`: the number of deliveries that match the filter.")
    return delivery_filter(body["filter"])
