"""Subscription handlers: how deliveries to subscriptions are made, with circuit breakers for their targets."""

import re
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from random import SystemRandom
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, cast

from sqlalchemy import Connection

from extension_kit.deliveries.handler import Due, FindHandler, Handler
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.sender_pool import PROTOCOL
from extension_kit.deliveries.subscription_matching import subscription_ref
from extension_kit.deliveries.subscriptions import Subscription, get
from extension_kit.deliveries.worker_rows import MOST_CIRCUITS, OpenCircuit
from extension_kit.errors import ConfigurationError, GiveUp
from extension_kit.events.pending import text_of
from extension_kit.senders import Message, Outcome, Sender
from extension_kit.senders.circuit_breaker import CircuitBreaker
from extension_kit.senders.target_schema import MAX_TIMEOUT

# Failures in a row that open a circuit: of a host without a connection, a target without an answer, one with errors.
_UNREACHED, _UNANSWERED, _ANSWERED = 5, 5, 20

SENDING_TIMEOUT = MAX_TIMEOUT + 30.0
"""Timeout of an attempt: more than any sender takes by itself, so that the error names the sender's own timeout."""

Prepared = tuple[dict[str, Any], Message] | Outcome
"""Target and message of an attempt, or the outcome of one that sends nothing."""


class FindSender(Protocol):
    """Finds senders: the part of the sender pool that handlers need."""

    def get(self, name: str) -> Sender:
        """Return the sender of a name.

        Raises:
            ConfigurationError: the sender cannot be used.
        """


class Circuits(NamedTuple):
    """Circuit breakers: per host for failed connections, per subscription for missing answers and for errors.

    Without a connection, all subscriptions of the host wait: otherwise a thousand of them would each run into a timeout
    of their own. With a connection, only this subscription waits, because others may share the host. Errors cost little
    and have a retry schedule, so more of them are needed to open the circuit: more than the deliveries of several
    series that fail once at the same time.
    """

    hosts: CircuitBreaker
    silent: CircuitBreaker
    failing: CircuitBreaker

    @classmethod
    def make(cls, clock: Callable[[], float] = time.monotonic) -> "Circuits":
        """Make the circuit breakers of a process; ``clock`` returns seconds that never go back."""
        return cls(*(CircuitBreaker(failures, clock=clock) for failures in (_UNREACHED, _UNANSWERED, _ANSWERED)))

    def open_circuits(self) -> list[OpenCircuit]:
        """Return the open ones, for the worker's row: those that stay open longest, each receiver once."""
        now = datetime.now(UTC)
        waits = {_receiver(host): wait for host, wait in self.hosts.open_circuits(MOST_CIRCUITS)}
        for circuit in (self.silent, self.failing):
            for target, wait in circuit.open_circuits(MOST_CIRCUITS):
                waits[str(target)] = max(wait, waits.get(str(target), 0.0))
        longest = sorted(waits, key=waits.__getitem__, reverse=True)[:MOST_CIRCUITS]
        return [OpenCircuit(receiver, now + timedelta(seconds=waits[receiver])) for receiver in longest]

    def wait(self, host: Hashable, target: str) -> float:
        """Return the seconds until a circuit of the host or target closes; 0 lets the caller make its attempt."""
        circuits = ((self.hosts, host), (self.silent, target), (self.failing, target))
        # A caller that has to wait for one circuit must not become the probe of another.
        wait = max(circuit.wait(key, target, peek=True) for circuit, key in circuits)
        return wait or max(circuit.wait(key, target) for circuit, key in circuits)

    def record(self, host: Hashable, target: str, outcome: Outcome) -> None:
        """Record the outcome of an attempt. A refusal without an answer says nothing: nothing was sent."""
        if outcome.status is not None or outcome.result == "delivered":
            self.hosts.record(host, "delivered")
            self.silent.record(target, "delivered")
            self.failing.record(target, outcome.result)
        elif outcome.result == "failed" and outcome.unreachable:
            self.hosts.record(host, "failed")
        elif outcome.result == "failed":
            self.silent.record(target, "failed")


def _bare(due: Due, subscription: Subscription) -> Message:
    return Message(message_id(due), due.body, subject=due.event_name)


class DeliveryFormat(NamedTuple):
    """Delivery format of an event protocol for its subscriptions.

    ``make_message`` makes the message for a subscription. ``retry`` is the retry schedule in seconds for subscriptions
    without one of their own. ``make_target`` makes the target from the stored one, for example with secrets that are
    not stored with it; None: the stored target is used.

    ``send`` makes the attempts of subscriptions with the sender ``protocol``, within 330 seconds each. For them neither
    a message nor a target is made, and no circuit breaker stops them.

    An exception of any of these counts as a failed attempt, ``GiveUp`` as one that is not repeated.
    """

    make_message: Callable[[Due, Subscription], Message] = _bare
    retry: Sequence[float] | None = None
    make_target: Callable[[Due, Subscription], dict[str, Any]] | None = None
    send: Callable[[Due, Subscription], Outcome] | None = None


def target_handlers(
    senders: FindSender,
    clock: Callable[[], float] = time.monotonic,
    formats: Mapping[str, DeliveryFormat] = MappingProxyType({}),
    circuits: Circuits | None = None,
) -> FindHandler:
    """Return a function that finds the handler of a subscription by its listener key; None if it was removed.

    Args:
        senders: make the attempts.
        clock: seconds that never go back, for new circuit breakers.
        formats: delivery formats by protocol; by default, the event's body is sent.
        circuits: the circuit breakers of the process; None: new ones, so that this is to be called once a process.
    """
    circuits = circuits or Circuits.make(clock)

    def find(key: str, connection: Connection) -> Handler | None:
        ref = subscription_ref(key)
        subscription = None if ref is None else get(connection, ref)
        if subscription is None:
            return None
        return _handler(subscription, senders, circuits, formats.get(subscription.protocol, _PLAIN))

    return find


def _handler(subscription: Subscription, senders: FindSender, circuits: Circuits, form: DeliveryFormat) -> Handler:
    schedule = RetrySchedule.of(form.retry if subscription.retry is None else subscription.retry)
    if subscription.sender == PROTOCOL:
        return Handler(partial(_send, form, subscription), schedule, SENDING_TIMEOUT)

    def prepare(due: Due) -> Prepared:
        try:
            target = subscription.target if form.make_target is None else form.make_target(due, subscription)
            return target, form.make_message(due, subscription)
        except GiveUp as error:
            return Outcome("refused", text_of(error))

    host = host_of(subscription.sender, subscription.target)
    return sending_handler(subscription.sender, host, subscription.key, prepare, schedule, senders, circuits)


def sending_handler(
    sender: str,
    host: Hashable,
    key: str,
    prepare: Callable[[Due], Prepared],
    schedule: RetrySchedule,
    senders: FindSender,
    circuits: Circuits,
    judge: Callable[[Outcome], Outcome] = lambda outcome: outcome,
) -> Handler:
    """Return a handler for which a sender makes the attempts, with circuit breakers.

    Args:
        sender: the name of the sender.
        host: the host of the target, see ``host_of``.
        key: the listener key, which stands for the target.
        prepare: returns target and message of a delivery, or the outcome of an attempt that sends nothing.
        schedule: the retry schedule.
        senders: find the sender.
        circuits: the circuit breakers of the process.
        judge: returns the outcome that the sender's has for this listener.
    """

    def make(due: Due) -> Outcome:
        try:
            made_by = senders.get(sender)
        except ConfigurationError as error:
            return Outcome("failed", str(error))
        prepared = prepare(due)
        if isinstance(prepared, Outcome):
            return prepared
        outcome = judge(made_by.send(*prepared))
        circuits.record(host, key, outcome)
        return outcome

    def circuit_wait() -> float:
        wait = circuits.wait(host, key)
        # Spread out, so that the first delivery has tried the target before the others come.
        return wait * SystemRandom().uniform(1.0, 1.2)

    return Handler(make, schedule, SENDING_TIMEOUT, circuit_wait)


def _send(form: DeliveryFormat, subscription: Subscription, due: Due) -> Outcome:
    if form.send is None:
        return Outcome("failed", f"no extension that is loaded makes attempts for {subscription.protocol}")
    try:
        return form.send(due, subscription)
    except GiveUp as error:
        return Outcome("refused", text_of(error))


_PLAIN = DeliveryFormat()


def host_of(sender: str, target: Mapping[str, Any]) -> Hashable:
    """Return the host of a target's connections; e-mails all go to one server."""
    scheme, _, rest = target.get("url", "").partition("://")
    return sender, scheme, re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].lower()


def _receiver(host: Hashable) -> str:
    """Return the name of a host as ``host_of`` returns it: its URL, or the sender where that has one server for all."""
    sender, scheme, name = cast(tuple[str, str, str], host)
    return f"{scheme}://{name}" if name else sender


def message_id(due: Due) -> str:
    """Return the message id of a delivery: the same in every attempt and replay, different in other databases."""
    origin = f"{due.created_at.isoformat()} {due.event_id}"
    return f"msg_{due.ref}_{blake2b(origin.encode(), digest_size=8).hexdigest()}"
