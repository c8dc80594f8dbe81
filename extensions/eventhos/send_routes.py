"""Routes of events that were sent: the retry of a contract and its abort (eventhos, Send Event)."""

from typing import Any

from flask import Response, request
from sqlalchemy import select, update

from .accepting import Accepting
from .answers import READ, EventhosError, answer
from .api import Api
from .body_fields import Body, WholeNumber, is_id
from .kept_rows import SentEvent
from .sending import Accepted, accept
from .sent_events import SentEvents, named
from .tables import ERROR, executions, received

_PROSECUTED = "Contract Detail was prosecuted."


class _Detail(Body):
    id = WholeNumber(required=True, data_key="contractDetailId", validate=is_id)


def add_send_routes(api: Api) -> Accepting:
    """Add the routes, and return the one that accepts events."""
    sent_events = SentEvents(api)
    views = _Views(api, sent_events)
    api.route("POST", "/event/send/contract", views.retry)
    api.route("POST", "/event/retry/aborted", views.abort)
    return Accepting(api, sent_events)


class _Views:
    def __init__(self, api: Api, sent_events: SentEvents) -> None:
        self._api = api
        self._kit = api.kit
        self._sent_events = sent_events
        self._accepted = 20000 if api.settings.profile == "upstream" else READ

    def retry(self) -> Response:
        """Send the event of a failed contract to this contract again, once."""
        key, identifier = named(request.args, request.headers)
        sent = self._api.body(_Detail(), 400203)
        with self._kit.transaction() as transaction:
            connection = transaction.connection
            event = self._event(connection, key, identifier)
            found = self._failed(connection, sent["id"], event.id, 400206)
            planned = [contract for contract in event.contracts if contract.id == found.contract]
            if not planned:
                raise EventhosError(400, 400204, "The contract was deleted or is not active")
            connection.execute(update(executions).where(executions.c.id == found.id).values(retried=True))
            retry = Accepted(event.id, event.identifier, found.event_request, planned, retry_of=found.id)
            accept(transaction, [retry])
        return answer(code=self._accepted)

    def abort(self) -> Response:
        """Mark a failed contract of an event as not to be retried."""
        self._api.access.require("event:retry-aborted")
        key, identifier = named(request.args, request.headers)
        sent = self._api.body(_Detail(), 400203)
        with self._kit.transaction() as transaction:
            connection = transaction.connection
            event = self._event(connection, key, identifier)
            found = self._failed(connection, sent["id"], event.id, 400203)
            connection.execute(update(executions).where(executions.c.id == found.id).values(aborted=True))
        return answer()

    def _event(self, connection: Any, key: str, identifier: str) -> SentEvent:
        """Return the event that a key may send.

        Raises:
            EventhosError: it may not, or there is no such event.
        """
        (event,) = self._sent_events.find(connection, [(self._sent_events.keys.read(key), identifier)])
        if isinstance(event, EventhosError):
            raise event
        return event

    def _failed(self, connection: Any, execution_id: int, event_id: int, code: int) -> Any:
        """Return an execution that failed, and was neither retried nor aborted; its row is locked.

        Raises:
            EventhosError: 400 with the code, there is none.
        """
        found = connection.execute(
            _EXECUTION.where(executions.c.id == execution_id, received.c.event == event_id)
        ).first()
        if found is None:
            raise EventhosError(400, 400203, "There is no such contract detail of this event.")
        if (reason := _refusal(found)) is not None:
            raise EventhosError(400, code, _PROSECUTED if code == 400203 else f"{_PROSECUTED} {reason}")
        return found


def _refusal(execution: Any) -> str | None:
    """Return the reason why an execution cannot be retried; None if it can."""
    if execution.state is None:
        return "It has not ended yet."
    if execution.state != ERROR:
        return "It has not failed."
    if execution.retried:
        return "It was retried before, as an entry of its own in the log."
    return "It was aborted." if execution.aborted else None


_EXECUTION = (
    select(
        executions.c.id,
        executions.c.contract,
        executions.c.state,
        executions.c.retried,
        executions.c.aborted,
        received.c.request.label("event_request"),
    )
    .join(received, received.c.id == executions.c.received)
    .with_for_update(of=executions)
)
