"""Executing: the attempts of contracts' deliveries, each of which calls the contract's action once."""

import logging
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import select, update

from extension_kit.protocol import DeliveryFormat, Due, Kit, Outcome, Subscription

from .calls import Action, Calls, Result
from .encryption import Encryption, OtherKey
from .error_mails import ErrorMails
from .received_event import SOURCE
from .replies import make_reply
from .runs import Logged, end
from .server_events import start
from .settings import EventhosSettings
from .tables import ERROR, PROCESSED, actions, contracts, executions, received

logger = logging.getLogger("extension_kit.eventhos")

_PATIENCE = (1.0, 5.0, 30.0, *[300.0] * 300)
"""Seconds between attempts that ended without a result: a process died, the database was away, a key unknown. A day."""


def delivery_format(kit: Kit, settings: EventhosSettings) -> DeliveryFormat:
    """Return the delivery format of contracts."""
    return DeliveryFormat(retry=_PATIENCE, send=_Executor(kit, settings).send)


class _Executor:
    def __init__(self, kit: Kit, settings: EventhosSettings) -> None:
        self._kit = kit
        self._settings = settings
        self._encryption = Encryption.of(kit, settings)
        self._calls = Calls(kit.senders.http_calls, settings)
        self._mails = ErrorMails(kit, settings, self._encryption)

    def send(self, due: Due, subscription: Subscription) -> Outcome:
        """Call the action of a contract for an event, and record the result; or accept an event of this server."""
        if due.source != SOURCE:
            return start(self._kit, self._encryption, due, subscription)
        received_id = orjson.loads(due.body)["received"]
        with self._kit.read() as connection:
            found = connection.execute(
                _EXECUTION.where(executions.c.received == received_id, contracts.c.subscription == subscription.ref)
            ).first()
        if found is None:
            return Outcome("refused", "the event is no longer in the log")
        if found.state == PROCESSED:
            return Outcome("delivered")
        name = f"execution {found.id} of contract {found.contract_identifier}"
        if found.state == ERROR:
            return Outcome("refused", f"{name} has failed before: POST /event/send/contract sends it again")
        try:
            result = self._make(found)
        except OtherKey as unknown:  # another worker has the key, or this one will get it
            return Outcome("failed", f"{name}: {unknown}")
        status = result.response["status"] if isinstance(result.response["status"], int) else None
        # Encrypted before the transactions, which others wait for.
        encrypt = self._encryption.encrypt
        call = Logged(encrypt(result.request), encrypt(result.response), result.seconds)
        if result.error is None:
            reply = make_reply(self._settings, self._encryption, found, result)
            with self._kit.transaction() as transaction:
                if end(transaction, found, PROCESSED, call) and reply is not None:
                    reply(transaction)
            return Outcome("delivered", status=status)
        error = f"{name}: {result.error}"
        waits = self._settings.retry_schedule if found.retry is None else found.retry
        if found.attempts < len(waits):
            again = executions.c.id == found.id, executions.c.state.is_(None)
            with self._kit.transaction() as transaction:
                noted = update(executions).where(*again).values(attempts=found.attempts + 1, **call._asdict())
                transaction.connection.execute(noted)
            return Outcome("failed", error, status, retry_in=waits[found.attempts])
        with self._kit.transaction() as transaction:
            is_new = end(transaction, found, ERROR, call)
            left_out = self._mails.due(transaction.connection, found.contract, datetime.now(UTC)) if is_new else None
        if left_out is not None:
            self._mails.send(found.id, result, left_out)
        return Outcome("refused", error, status)

    def _make(self, found: Any) -> Result:
        if found.contract_deleted or found.action_deleted:
            return _not_called("the contract or its action was deleted")
        request = self._encryption.decrypt(found.event_request)
        action = Action(
            (found.action, found.action_updated_at),
            self._encryption.decrypt(found.action_request),
            None if found.security is None else self._encryption.decrypt(found.security),
        )
        return self._calls.make(action, request)


def _not_called(why: str) -> Result:
    now = datetime.now(UTC).isoformat()
    response = {"status": "ERROR", "statusText": why, "headers": {}, "body": {}, "startTime": now, "endTime": now}
    return Result(why, {}, response, 0.0)


_EXECUTION = (
    select(
        executions.c.id,
        executions.c.received,
        executions.c.contract,
        executions.c.state,
        executions.c.attempts,
        contracts.c.identifier.label("contract_identifier"),
        contracts.c.retry,
        contracts.c.deleted.label("contract_deleted"),
        actions.c.id.label("action"),
        actions.c.updated_at.label("action_updated_at"),
        actions.c.request.label("action_request"),
        actions.c.security,
        actions.c.reply_to,
        actions.c.deleted.label("action_deleted"),
        received.c.request.label("event_request"),
        received.c.depth,
        received.c.root,
    )
    .join(contracts, contracts.c.id == executions.c.contract)
    .join(actions, actions.c.id == contracts.c.action)
    .join(received, received.c.id == executions.c.received)
)
