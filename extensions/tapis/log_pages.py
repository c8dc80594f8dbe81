"""Pages of the event log: the series that have not ended, and the subscriptions with their deliveries."""

from datetime import UTC, datetime
from urllib.parse import urlencode

import orjson
from sqlalchemy import Connection, Row, select, tuple_

from extension_kit.protocol import BadPlace, Cell, Link, LogTable, Status, parse_time, subscription_groups

from .delivery_targets import SOURCE, group_of
from .settings import TapisSettings
from .subscriptions import Subscription
from .tables import series, subscriptions

_MOST_ADDRESSES = 3
_LARGEST = 2**63 - 1
_SERIES = ("Series", "Subject", "Source", "Tenant", "Events", "Began", "Last event", "Events kept", "Deliveries")
_SUBSCRIPTIONS = (
    "Subscription",
    "Owner",
    "Tenant",
    "Events",
    "Subject",
    "Targets",
    "State",
    "Expiry",
    "Waiting deliveries",
    "Dead letters",
)


def read_series(connection: Connection, settings: TapisSettings, before: str | None, limit: int) -> LogTable:
    """Read a page of the series that have not ended, those first that began last."""
    sorted_by = tuple_(series.c.began_at, series.c.key)
    query = select(series).order_by(series.c.began_at.desc(), series.c.key.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(sorted_by < _place_of_series(before))
    found = connection.execute(query).all()
    last = found[limit - 1] if len(found) > limit else None
    return LogTable(
        _SERIES,
        [_series_to_cells(row) for row in found[:limit]],
        next=None if last is None else orjson.dumps([last.began_at, last.key]).decode(),
    )


def read_subscriptions(connection: Connection, settings: TapisSettings, before: str | None, limit: int) -> LogTable:
    """Read a page of subscriptions, newest first, with the numbers of their waiting deliveries and dead letters."""
    query = select(subscriptions).order_by(subscriptions.c.ref.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(subscriptions.c.ref < _place_of_subscription(before))
    found = connection.execute(query).all()
    counts = subscription_groups.count_deliveries(connection, SOURCE, [group_of(row) for row in found[:limit]])
    now = datetime.now(UTC)
    return LogTable(
        _SUBSCRIPTIONS,
        [_subscription_to_cells(row, counts[group_of(row)], now) for row in found[:limit]],
        next=str(found[limit - 1].ref) if len(found) > limit else None,
    )


def _place_of_series(place: str) -> tuple[datetime, str]:
    try:
        time, key = orjson.loads(place)
        began_at = parse_time(time)
    except (ValueError, TypeError):
        raise BadPlace from None
    if began_at is None or not isinstance(key, str) or "\x00" in key:
        raise BadPlace
    return began_at, key


def _place_of_subscription(place: str) -> int:
    if not (place.isascii() and place.isdigit()) or len(place) > len(str(_LARGEST)) or int(place) > _LARGEST:
        raise BadPlace
    return int(place)


def _series_to_cells(row: Row[tuple[object, ...]]) -> tuple[Cell, ...]:
    query = urlencode({"source": SOURCE, "subject": row.subject or ""})
    return (
        row.series_id or row.key,
        row.subject,
        row.source,
        row.tenant,
        row.seq_count,
        row.began_at,
        row.updated,
        Link("events", f"/events?{query}") if row.subject else None,
        Link("deliveries", f"/deliveries?{query}") if row.subject else None,
    )


def _subscription_to_cells(
    row: Subscription, counts: subscription_groups.DeliveryCounts, now: datetime
) -> tuple[Cell, ...]:
    is_expired = row.ends_at is not None and row.ends_at <= now
    return (
        row.name,
        row.owner,
        row.tenant,
        row.type_filter,
        row.subject_filter,
        _addresses(row),
        Status("expired" if is_expired else "enabled" if row.enabled else "disabled"),
        row.expiry,
        *counts.shown,
    )


def _addresses(row: Subscription) -> str:
    """Return the first targets of a subscription. The page hides the secrets of an address."""
    targets = row.delivery_targets
    shown = [f"{target['deliveryMethod']} {target['deliveryAddress']}" for target in targets[:_MOST_ADDRESSES]]
    more = len(targets) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more else shown)
