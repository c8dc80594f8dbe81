"""Target listeners: for their deliveries, functions make messages and a sender of the kit sends them."""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn
from urllib.parse import urlsplit

from extension_kit.deliveries.function_handlers import Views, event_of
from extension_kit.deliveries.handler import Due, Handler
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.sender_pool import PROTOCOL
from extension_kit.deliveries.subscription_handlers import (
    SENDING_TIMEOUT,
    Circuits,
    FindSender,
    Prepared,
    host_of,
    sending_handler,
)
from extension_kit.errors import ConfigurationError, GiveUp, NotReady, RegistrationError, RetryLater, StoreError
from extension_kit.events.event import FindStep, set_attempt
from extension_kit.events.listener import Listener, SenderTarget
from extension_kit.events.pending import text_of
from extension_kit.events.state import EventAttempt
from extension_kit.observability.redaction import redact_text
from extension_kit.senders import REFUSES_CREDENTIALS, Message, Outcome

logger = logging.getLogger("extension_kit.events")


def made_targets(listeners: Iterable[Listener], senders: FindSender) -> dict[str, dict[str, Any]]:
    """Make the targets of listeners, and check them.

    Args:
        listeners: those of a service; any without a target are left out.
        senders: check the targets.

    Returns:
        The targets by listener key.

    Raises:
        ConfigurationError: a target cannot be used; the message says why, without its values.
    """
    return {each.key: _made(each, each.target, senders) for each in listeners if each.target is not None}


def _made(listener: Listener, target: SenderTarget, senders: FindSender) -> dict[str, Any]:
    name = f"{listener.extension}: the target of {listener.name}"
    if target.sender == PROTOCOL:
        raise RegistrationError(f"{name} has the sender of event protocols: choose http, email, amqp or nats")
    try:
        made = target.make()
        sender = senders.get(target.sender)
    except ConfigurationError as error:
        raise RegistrationError(f"{name}: {error}") from error
    except Exception as error:
        reason = redact_text(" ".join(str(error).split()))
        raise RegistrationError(f"{name} cannot be made: {type(error).__name__}: {reason}") from error
    if not isinstance(made, Mapping):
        raise RegistrationError(f"{name} is a mapping such as {{'url': ...}}, or a function that returns one")
    if problems := sender.check(dict(made)):
        raise RegistrationError(f"{name}: " + " ".join(f"{key}: {problem}" for key, problem in problems.items()))
    return dict(made)


def target_listener_handlers(
    listeners: Iterable[Listener],
    targets: Mapping[str, dict[str, Any]],
    senders: FindSender,
    circuits: Circuits,
    find_step: FindStep,
    views: Views,
) -> dict[str, Handler]:
    """Return the handlers of target listeners by listener key.

    Args:
        listeners: those of a service; any without a target are left out.
        targets: the targets by listener key, as ``made_targets`` returns them.
        senders: make the attempts.
        circuits: the circuit breakers of the process.
        find_step: finds the step for ``event.step``.
        views: event classes of other protocols, by source.
    """
    return {
        each.key: sending_handler(
            each.target.sender,
            host_of(each.target.sender, targets[each.key]),
            each.key,
            partial(_prepare, each, targets[each.key], find_step, views),
            RetrySchedule() if each.retry is None else RetrySchedule(each.retry),
            senders,
            circuits,
            partial(_judge, str(targets[each.key].get("url", ""))),
        )
        for each in listeners
        if each.target is not None
    }


def _judge(url: str, outcome: Outcome) -> Outcome:
    """Return the outcome of an attempt: while a receiver refuses the credentials, deliveries wait for others."""
    if outcome.status not in REFUSES_CREDENTIALS or outcome.result != "failed":
        return outcome
    error = f"{urlsplit(url).netloc.rpartition('@')[2]} refuses the credentials ({outcome.status})"
    return replace(outcome, result="not ready", error=error, retry_in=outcome.retry_after)


def _prepare(listener: Listener, target: dict[str, Any], find_step: FindStep, views: Views, due: Due) -> Prepared:
    try:
        event = event_of(find_step, views, due, time.monotonic() + SENDING_TIMEOUT)
        set_attempt(event, EventAttempt(due.number, _refuse_state))
        message = listener.call(event)
    except GiveUp as error:
        return Outcome("refused", text_of(error))
    except NotReady as error:
        return Outcome("not ready", text_of(error), retry_in=error.retry_in)
    except RetryLater as error:
        return Outcome("failed", text_of(error), retry_in=error.seconds)
    except StoreError as error:  # of event.step
        return Outcome("failed", text_of(error))
    except BaseException as error:
        logger.exception("%s raised on %s %s", listener.name, due.event_name, due.event_id)
        return Outcome("refused", f"{type(error).__name__}: {text_of(error)}")
    if message is None:
        return Outcome("delivered")
    if not isinstance(message, Message):
        return Outcome("refused", f"{listener.name} returned {type(message).__name__}: return a Message, or None")
    return target, message


def _refuse_state() -> NoReturn:
    raise RuntimeError("event.state is not there for make_message: use it in a function of listen_to")
