"""Error mails: e-mails about contracts that failed, at most one for each contract in ten minutes."""

import logging
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any
from uuid import uuid4

import orjson
from sqlalchemy import Connection, select, update

from extension_kit.protocol import Kit, Message, Outcome, insert_or_ignore

from .calls import Result
from .encryption import Encryption
from .masking import masked
from .settings import EventhosSettings
from .tables import actions, contracts, error_mails, events, executions, received, systems

logger = logging.getLogger("extension_kit.eventhos")

PERIOD = timedelta(minutes=10)
"""Minimum time between two e-mails about one contract."""

MOST_BYTES = 64 * 1024
"""Maximum bytes of an e-mail's HTML."""

_MOST_SHORT, _MOST_LONG = 2 * 1024, 10 * 1024
"""Maximum bytes of a name or URL, and of headers or a body: all of them and the table around are within MOST_BYTES."""

_SHORTENED = " … (shortened)"


class ErrorMails:
    """Sends e-mails about executions that ended in error, once: one that the mail server does not take is lost.

    Args:
        kit: the kit; its sender of e-mails is used.
        settings: the recipients of contracts that name none, the alias in subjects, and the keys to mask.
        encryption: decrypts the events.
    """

    def __init__(self, kit: Kit, settings: EventhosSettings, encryption: Encryption) -> None:
        self._kit = kit
        self._settings = settings
        self._encryption = encryption

    def due(self, connection: Connection, contract_id: int, now: datetime) -> int | None:
        """Count an error of a contract, in the transaction that ends the execution.

        Of several transactions at the same time, the later ones wait for the first one's commit.

        Args:
            connection: of the transaction, which locks nothing of other contracts afterwards.
            contract_id: number of the contract.
            now: the time, aware.

        Returns:
            The number of errors left out since the last e-mail, if one is to be sent after the commit; None if not.
        """
        query = select(contracts.c.mail_recipients).where(contracts.c.id == contract_id)
        if not self._kit.settings.smtp_host or not self._recipients(connection.execute(query).scalar_one()):
            return None
        first = {"contract": contract_id, "sent_at": now, "left_out": 0}
        if insert_or_ignore(connection, error_mails, first, returning=[error_mails.c.contract]).first() is not None:
            return 0
        is_contract = error_mails.c.contract == contract_id
        found = connection.execute(select(error_mails).where(is_contract).with_for_update()).one()
        if abs(now - found.sent_at) < PERIOD:  # of a clock that was set back since, the last time may be far ahead
            counted = error_mails.c.left_out + 1
            connection.execute(update(error_mails).where(is_contract).values(left_out=counted))
            return None
        connection.execute(update(error_mails).where(is_contract).values(sent_at=now, left_out=0))
        return int(found.left_out)

    def send(self, execution_id: int, result: Result, left_out: int) -> None:
        """Send the e-mail about an execution. A failure is logged only: the execution has ended.

        Args:
            execution_id: number of the execution.
            result: the result of its last call.
            left_out: number of the contract's errors without an e-mail since the last one.
        """
        try:
            self._send(execution_id, result, left_out)
        except Exception:
            logger.exception("The e-mail about the failed execution %d was not sent", execution_id)

    def _send(self, execution_id: int, result: Result, left_out: int) -> None:
        with self._kit.read() as connection:
            found = connection.execute(_FAILED.where(executions.c.id == execution_id)).one()
        sender = self._kit.senders.get("email")
        named = self._recipients(found.mail_recipients)
        recipients = [address for address in named if not sender.check({"to": [address]})]
        if len(recipients) < len(named):
            logger.warning("Not all mail recipients of contract %s are e-mail addresses", found.contract_identifier)
        if not recipients:
            return
        alias = f"[{self._settings.alias}] " if self._settings.alias else ""
        message = Message(
            uuid4().hex,
            _page(self._rows(found, result, left_out)).encode(),
            "text/html",
            subject=f"Eventhos {alias}error notification {result.response['endTime']}",
        )
        outcome = sender.send({"to": recipients}, message)
        if outcome.error is not None:
            logger.warning("The e-mail about a failure of contract %s: %s", found.contract_identifier, _why(outcome))

    def _recipients(self, named: str) -> list[str]:
        """Return the addresses that a contract names, or those of the settings."""
        for text in (named, self._settings.mail_recipients):
            if addresses := [address.strip() for address in text.split(",") if address.strip()]:
                return addresses
        return []

    def _rows(self, found: Any, result: Result, left_out: int) -> Sequence[tuple[str, str]]:
        """Return names and values of the table in the e-mail."""
        try:
            event = self._encryption.decrypt(found.event_request)
        except ValueError as error:
            event = {"url": "", "body": str(error), "headers": {}}
        event = masked(event, self._settings.masked)
        request = masked(result.request, self._settings.masked)
        response = masked(result.response, self._settings.masked)
        return [
            ("Contract", _short(f"{found.contract} ({found.contract_identifier})")),
            ("Event", _short(f"{found.event_identifier} - {found.event_description}")),
            ("Producer", _short(f"{found.producer} ({found.producer_identifier})")),
            ("Action", _short(f"{found.action} ({found.action_identifier})")),
            ("Consumer", _short(f"{found.consumer} ({found.consumer_identifier})")),
            ("Event log number", str(found.received)),
            ("Received URL", _short(event["url"])),
            ("Received body", _long(event["body"])),
            ("Received headers", _long(event["headers"])),
            ("Response time", _short(response["endTime"])),
            ("Response URL", _short(request.get("url", ""))),
            ("Response status", _short(f"{response['status']} {response['statusText']}")),
            ("Response body", _long(response["body"])),
            ("Response headers", _long(response["headers"])),
            ("Errors left out since the last e-mail", str(left_out)),
        ]


def _why(outcome: Outcome) -> str:
    """Return the reason of a failure without the recipients, which the outcome's error names if there is an answer."""
    if outcome.result == "delivered":
        return "some recipients were refused"
    return f"the mail server answered {outcome.status}" if outcome.status else str(outcome.error)


def _page(rows: Sequence[tuple[str, str]]) -> str:
    cells = "\n".join(f"<tr><th align=left valign=top>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f"<!DOCTYPE html>\n<html><body><table>\n{cells}\n</table></body></html>\n"


def _short(text: str) -> str:
    return _escaped(text, _MOST_SHORT)


def _long(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return f"<pre>{_escaped(text, _MOST_LONG)}</pre>"


def _escaped(text: str, most: int) -> str:
    """Return a text as HTML between tags, cut to a number of bytes."""
    whole = escape(text[: most + 1], quote=False).encode()
    if len(whole) <= most:
        return whole.decode()
    cut = whole[:most].decode(errors="ignore")
    return re.sub(r"&[^;]*\Z", "", cut) + _SHORTENED


_producers, _consumers = systems.alias(), systems.alias()
_FAILED = (
    select(
        executions.c.received,
        contracts.c.name.label("contract"),
        contracts.c.identifier.label("contract_identifier"),
        contracts.c.mail_recipients,
        events.c.identifier.label("event_identifier"),
        events.c.description.label("event_description"),
        _producers.c.name.label("producer"),
        _producers.c.identifier.label("producer_identifier"),
        actions.c.name.label("action"),
        actions.c.identifier.label("action_identifier"),
        _consumers.c.name.label("consumer"),
        _consumers.c.identifier.label("consumer_identifier"),
        received.c.request.label("event_request"),
    )
    .select_from(executions)
    .join(contracts, contracts.c.id == executions.c.contract)
    .join(received, received.c.id == executions.c.received)
    .join(events, events.c.id == received.c.event)
    .join(_producers, _producers.c.id == events.c.system)
    .join(actions, actions.c.id == contracts.c.action)
    .join(_consumers, _consumers.c.id == actions.c.system)
)
