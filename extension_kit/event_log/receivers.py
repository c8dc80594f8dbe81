"""Receivers: the functions and subscriptions that get deliveries, with their state and the deliveries that wait."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import Connection, func, select

from extension_kit.deliveries import subscriptions
from extension_kit.deliveries.pauses import Paused, paused
from extension_kit.deliveries.subscription_matching import subscription_ref
from extension_kit.deliveries.subscriptions import Subscription
from extension_kit.deliveries.tables import DEAD, WAITING, deliveries
from extension_kit.deliveries.worker_rows import known_workers
from extension_kit.event_log.paging import Count
from extension_kit.events.listener import Listener, SenderTarget
from extension_kit.observability.redaction import redact, redact_text
from extension_kit.runtime.service import Service

LIMIT = 100
"""Receivers of a page."""

_MOST_COUNTED = 1000
_KINDS = {"http": "webhook", "email": "e-mail", "amqp": "AMQP", "nats": "NATS"}


class ShownReceiver(NamedTuple):
    """A function or a subscription.

    Attributes:
        key: listener key of its deliveries.
        label: protocol, name and address of a subscription, or the address of a function's target; else empty.
        kind: such as ``function`` or ``webhook``.
        patterns: of the names of its events.
        is_enabled: False for a subscription that gets no new events.
        may_be_paused: False for a function that gets no deliveries.
        paused: its pause; None: it is not paused.
        circuit_until: time of the next probe if its circuit breaker is open in a worker; else None.
        waiting: number of its waiting deliveries, counted up to 1,000.
        dead: number of its dead letters, likewise.
    """

    key: str
    label: str
    kind: str
    patterns: Sequence[str]
    is_enabled: bool
    may_be_paused: bool
    paused: Paused | None
    circuit_until: datetime | None
    waiting: Count
    dead: Count


def shown_receivers(
    connection: Connection, service: Service | None, after: int
) -> tuple[list[ShownReceiver], int | None]:
    """Return the receivers of a page, and the place after which the next page begins; None: there is no other.

    Args:
        connection: to read with.
        service: the extensions whose functions are shown, on the first page; None: no functions are known.
        after: number of a subscription; 0 for the first page.
    """
    known = _Known(paused(connection), _open_circuits(connection))
    listeners = service.registry.listeners if service is not None and not after else ()
    has_protocols = service is not None and bool(service.protocols)
    found = [_of_function(connection, each, known, has_protocols=has_protocols) for each in listeners]
    rows = subscriptions.find_all(connection, after=after, limit=LIMIT + 1)
    found += [_of_subscription(connection, each, known) for each in rows[:LIMIT]]
    if not after:
        keys = {each.key for each in found}
        found += [
            _receiver(connection, key, known, "", "unknown", (), is_enabled=True)
            for key in known.paused
            if key not in keys and subscription_ref(key) is None
        ]
    return found, rows[LIMIT - 1].ref if len(rows) > LIMIT else None


class _Known(NamedTuple):
    paused: Mapping[str, Paused]
    circuits: Mapping[str, datetime]


def _open_circuits(connection: Connection) -> dict[str, datetime]:
    now = datetime.now(UTC)
    circuits = (each for worker in known_workers(connection) for each in worker.open_circuits)
    return {each.receiver: each.until for each in circuits if each.until > now}


def _of_function(connection: Connection, listener: Listener, known: _Known, *, has_protocols: bool) -> ShownReceiver:
    kind, label = "immediate function" if listener.immediate else "function", ""
    if listener.target is not None:
        kind, label = _KINDS.get(listener.target.sender, listener.target.sender), _address(listener.target)
    may_be_paused = has_protocols or not listener.immediate
    return _receiver(
        connection, listener.key, known, label, kind, listener.patterns, is_enabled=True, may_be_paused=may_be_paused
    )


def _address(target: SenderTarget) -> str:
    with suppress(Exception):  # of the extension, which need not have its settings here
        return " ".join(_addresses(target.make()))
    return ""


def _of_subscription(connection: Connection, subscription: Subscription, known: _Known) -> ShownReceiver:
    is_expired = subscription.expires_at is not None and subscription.expires_at <= datetime.now(UTC)
    parts = (subscription.protocol, subscription.name, *_addresses(subscription.target))
    return _receiver(
        connection,
        subscription.key,
        known,
        " ".join(parts),
        _KINDS.get(subscription.sender, subscription.protocol),
        subscription.patterns,
        is_enabled=subscription.enabled and not is_expired,
    )


def _addresses(target: Mapping[str, object]) -> Iterator[str]:
    """Yield the texts of a target that tell where its deliveries go, without secrets: of a URL its host only.

    The paths of many webhooks are their passwords.
    """
    shown = redact(target)
    if isinstance(url := shown.get("url"), str):
        parts = urlsplit(url)
        yield f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    for name in ("to", "address", "exchange", "queue"):
        if isinstance(shown.get(name), str):
            yield redact_text(shown[name])


def _receiver(
    connection: Connection,
    key: str,
    known: _Known,
    label: str,
    kind: str,
    patterns: Sequence[str],
    *,
    is_enabled: bool,
    may_be_paused: bool = True,
) -> ShownReceiver:
    numbers = [_count(connection, key, status) for status in (WAITING, DEAD)]
    circuit = known.circuits.get(key)
    return ShownReceiver(
        key, label, kind, patterns, is_enabled, may_be_paused, known.paused.get(key), circuit, *numbers
    )


def _count(connection: Connection, key: str, status: str) -> Count:
    some = select(deliveries.c.ref).where(deliveries.c.listener == key, deliveries.c.status == status)
    among = some.limit(_MOST_COUNTED + 1).subquery()
    number: int = connection.execute(select(func.count()).select_from(among)).scalar_one()
    return Count(min(number, _MOST_COUNTED), number <= _MOST_COUNTED)
