"""How deliveries to subscriptions are made: what is sent, by whom, and when the target is left alone for a while."""

import random
import re
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection

from extension_kit.deliveries.attempt import Due, FindHandler, Handler
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.subscription_matching import subscription_ref
from extension_kit.deliveries.subscriptions import Subscription, get
from extension_kit.errors import ConfigurationError
from extension_kit.senders import Message, Outcome, Sender
from extension_kit.senders.circuit_breaker import Circuit
from extension_kit.senders.target_schema import MAX_TIMEOUT

# Failures in a row that send to rest: a host without a connection, a target without an answer, and one with errors.
_UNREACHED, _UNANSWERED, _ANSWERED = 5, 5, 20

# More than any sender takes by itself, so that what people see is the sender's own timeout.
_TIMEOUT = MAX_TIMEOUT + 30.0


class FindSender(Protocol):
    """What is needed of the senders."""

    def get(self, name: str) -> Sender:
        """Return a sender.

        Raises:
            ConfigurationError: it cannot be used.
        """


class _Circuits(NamedTuple):
    """Who rests. Two things can be out of order, and each of them rests by itself.

    Where there is no connection, it is the host, with all subscriptions that lead to it: that is found out once, not by
    each of a thousand with a timeout of its own. Where there is one, it is this target only, whether it does not answer
    or with an error: its neighbours at a host that many share must not wait for it. Errors cost little and have a retry
    schedule, so it takes more of them: more than the deliveries of several series that fail once at the same time.
    """

    hosts: Circuit
    silent: Circuit
    failing: Circuit

    def wait(self, host: Hashable, target: str) -> float:
        """The seconds for which a target rests, or its host; 0 lets the caller make its attempt."""
        rests = ((self.hosts, host), (self.silent, target), (self.failing, target))
        # Who would wait for one of them must not be let through by another as its probe.
        wait = max(circuit.wait(key, target, only_look=True) for circuit, key in rests)
        return wait or max(circuit.wait(key, target) for circuit, key in rests)

    def record(self, host: Hashable, target: str, outcome: Outcome) -> None:
        """Take note of how an attempt ended. What was refused without an answer was not sent."""
        if outcome.status is not None or outcome.result == "delivered":
            self.hosts.record(host, "delivered")
            self.silent.record(target, "delivered")
            self.failing.record(target, outcome.result)
        elif outcome.result == "failed" and outcome.unreachable:
            self.hosts.record(host, "failed")
        elif outcome.result == "failed":
            self.silent.record(target, "failed")


class Manner(NamedTuple):
    """How a protocol delivers to its subscriptions.

    ``envelope`` makes what a subscription is sent; what it raises counts as a failed attempt. ``retry`` are the seconds
    between attempts for subscriptions that have none of their own.
    """

    envelope: Callable[[Due, Subscription], Message]
    retry: Sequence[float] | None = None


def target_handlers(
    senders: FindSender,
    clock: Callable[[], float] = time.monotonic,
    manners: Mapping[str, Manner] = MappingProxyType({}),
) -> FindHandler:
    """Make the finder of handlers for subscriptions; it finds none for one that was removed.

    What it finds knows which targets rest, so a process needs one of these and no more.

    Args:
        senders: what makes the attempts.
        clock: seconds that never go back.
        manners: how protocols deliver to their subscriptions; by default, the event's body is sent.
    """
    circuits = _Circuits(*(Circuit(failures, clock=clock) for failures in (_UNREACHED, _UNANSWERED, _ANSWERED)))

    def find(key: str, connection: Connection) -> Handler | None:
        ref = subscription_ref(key)
        subscription = None if ref is None else get(connection, ref)
        if subscription is None:
            return None
        return _handler(subscription, senders, circuits, manners.get(subscription.protocol, _PLAIN))

    return find


def _handler(subscription: Subscription, senders: FindSender, circuits: _Circuits, manner: Manner) -> Handler:
    host, target = _host(subscription.sender, subscription.target), subscription.key

    def make(due: Due) -> Outcome:
        try:
            sender = senders.get(subscription.sender)
        except ConfigurationError as error:
            return Outcome("failed", str(error))
        outcome = sender.send(subscription.target, manner.envelope(due, subscription))
        circuits.record(host, target, outcome)
        return outcome

    def rest() -> float:
        wait = circuits.wait(host, target)
        # Spread out, so that the first of those that wait has found out how things are before the others come.
        return wait * random.uniform(1.0, 1.2)  # noqa: S311

    schedule = RetrySchedule.of(manner.retry if subscription.retry is None else subscription.retry)
    return Handler(make, schedule, _TIMEOUT, rest)


def _bare(due: Due, subscription: Subscription) -> Message:
    return Message(message_id(due), due.body, subject=due.event_name)


_PLAIN = Manner(_bare)


def _host(sender: str, target: Mapping[str, Any]) -> Hashable:
    """Where connections for a target lead to; e-mails all lead to one server."""
    scheme, _, rest = target.get("url", "").partition("://")
    return sender, scheme, re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].lower()


def message_id(due: Due) -> str:
    """What receivers know a delivery by, in every attempt and replay; no other database has the same."""
    origin = f"{due.created_at.isoformat()} {due.event_id}"
    return f"msg_{due.ref}_{blake2b(origin.encode(), digest_size=8).hexdigest()}"
