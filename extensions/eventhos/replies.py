"""Replies: answers of actions that are accepted as events, and have contracts again."""

import logging
from collections.abc import Callable
from typing import Any

import orjson
from sqlalchemy import Connection, func, select

from extension_kit.protocol import Transaction

from .calls import MOST_ANSWER_BYTES, Result
from .encryption import Encryption
from .sending import Accepted, Cause, accept, active_contracts, request_of
from .settings import EventhosSettings
from .tables import events, received

logger = logging.getLogger("extension_kit.eventhos")


def make_reply(
    settings: EventhosSettings, encryption: Encryption, found: Any, result: Result
) -> Callable[[Transaction], None] | None:
    """Return the step of a transaction that accepts the answer of an action as an event.

    Args:
        settings: the bounds of replies.
        encryption: of the log.
        found: the execution, with ``reply_to`` of its action, and ``depth`` and ``root`` of its event.
        result: of the call.

    Returns:
        The step; None if the action has no reply, its chain of replies is too long, or the answer was not read to its
        end.
    """
    if not found.reply_to:
        return None
    depth = found.depth + 1
    if depth > settings.max_replies:
        logger.warning(
            "The reply %s of contract %s is left out: it would be reply %d in a chain, "
            "EXTENSION_EVENTHOS_MAX_REPLIES allows %d",
            found.reply_to,
            found.contract_identifier,
            depth,
            settings.max_replies,
        )
        return None
    if not result.is_whole:
        logger.warning(
            "The reply %s of contract %s is left out: the answer has more than %d bytes",
            found.reply_to,
            found.contract_identifier,
            MOST_ANSWER_BYTES,
        )
        return None
    body = result.response["body"]
    root = found.received if found.root is None else found.root
    content, request = orjson.dumps(body), encryption.encrypt(request_of(found.reply_to, body))

    def accept_reply(transaction: Transaction) -> None:
        connection = transaction.connection
        query = select(events.c.id, events.c.identifier).where(events.c.identifier == found.reply_to, ~events.c.deleted)
        if (event := connection.execute(query).first()) is None:
            logger.warning("Contract %s replies to %s, which is no event", found.contract_identifier, found.reply_to)
            return
        if _has_replies(connection, root, settings.max_replies_of_event):
            logger.warning(
                "The reply %s of contract %s is left out: event %d has %d replies, direct and indirect, which is what "
                "EXTENSION_EVENTHOS_MAX_REPLIES_OF_EVENT allows",
                found.reply_to,
                found.contract_identifier,
                root,
                settings.max_replies_of_event,
            )
            return
        planned = active_contracts(connection, [event.id])[event.id]
        cause = Cause(found.id, depth, root)
        accept(transaction, [Accepted(event.id, event.identifier, request, planned, content, cause=cause)])

    return accept_reply


def _has_replies(connection: Connection, root: int, number: int) -> bool:
    """Return True if an event has at least this number of replies.

    No lock is held: executions that end at the same moment may add a few replies more.
    """
    replies = select(received.c.id).where(received.c.root == root).limit(number).subquery()
    return bool(connection.execute(select(func.count()).select_from(replies)).scalar_one() >= number)
