"""Filters of deliveries and of events, as addresses of pages, the API and the rows of actions have them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from urllib.parse import urlencode

from sqlalchemy import ColumnElement

from extension_kit.deliveries.moments import parse_moment
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.tables import DEAD, DELIVERED, DISCARDED, WAITING, events
from extension_kit.errors import RegistrationError
from extension_kit.event_log.paging import BadFilter
from extension_kit.events.patterns import check_pattern

STATUSES = (WAITING, DELIVERED, DEAD, DISCARDED)
"""States that deliveries are filtered by."""

EVENT_PARAMETERS = ("event", "subject", "source", "event_id", "from", "to")
"""Parameters that filter events."""

DELIVERY_PARAMETERS = ("ref", "status", "listener", "error", *EVENT_PARAMETERS)
"""Parameters that filter deliveries."""

PAGE_PARAMETERS = ("before", "limit")
"""Parameters of a list beside its filter."""

MAX_REFS = 1000
"""Most deliveries that a filter names by number."""

MAX_TEXT = 1000
"""Characters of a value."""
_REFS = re.compile(r"\d{1,18}(,\d{1,18})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Conditions on events, combined by AND; an argument that is not given is no condition.

    Args:
        event_name: the name.
        event_pattern: a pattern that the name matches.
        event_id: the id, unique within its source.
        subject: the subject.
        source: the source.
        before: received before this time.
        after: received after this time.
    """

    event_name: str | None = None
    event_pattern: str | None = None
    event_id: str | None = None
    subject: str | None = None
    source: str | None = None
    before: datetime | None = None
    after: datetime | None = None

    @classmethod
    def of(cls, wanted: Filter) -> Self:
        """Return the conditions of a filter of deliveries on their events."""
        return cls(wanted.event_name, wanted.event_pattern, wanted.event_id, wanted.subject, wanted.source)

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield the filter as conditions on events."""
        of_deliveries = Filter(
            event_name=self.event_name,
            event_pattern=self.event_pattern,
            event_id=self.event_id,
            subject=self.subject,
            source=self.source,
        )
        yield from of_deliveries.conditions_on_events()
        if self.before:
            yield events.c.received_at < self.before
        if self.after:
            yield events.c.received_at > self.after


def delivery_filter(args: Mapping[str, str]) -> Filter:
    """Return the filter of deliveries that parameters describe; empty values, and other parameters, are ignored.

    Args:
        args: parameters of an address, such as ``{"status": "dead", "from": "7d"}``. ``ref`` has numbers of deliveries,
            joined by commas.

    Raises:
        BadFilter: a value is not allowed.
    """
    status = _text(args, "status")
    if status is not None and status not in STATUSES:
        raise BadFilter(f"status is one of {', '.join(STATUSES)}, not {status!r:.80}.")
    event = event_filter(args)
    return Filter(
        refs=_refs(args),
        status=status,
        listener=_text(args, "listener"),
        error=_text(args, "error"),
        event_name=event.event_name,
        event_pattern=event.event_pattern,
        event_id=event.event_id,
        subject=event.subject,
        source=event.source,
        before=event.before,
        after=event.after,
    )


def event_filter(args: Mapping[str, str]) -> EventFilter:
    """Return the filter of events that parameters describe; empty values, and other parameters, are ignored.

    Args:
        args: parameters of an address, such as ``{"event": "experiment.*", "to": "2026-11-21T10:30"}``.

    Raises:
        BadFilter: a value is not allowed.
    """
    name = _text(args, "event")
    pattern = name if name is not None and "*" in name else None
    if pattern is not None:
        try:
            check_pattern(pattern)
        except RegistrationError as error:
            raise BadFilter(f"event: {error}.") from None
    return EventFilter(
        event_name=name if pattern is None else None,
        event_pattern=pattern,
        event_id=_text(args, "event_id"),
        subject=_text(args, "subject"),
        source=_text(args, "source"),
        before=_moment(args, "to"),
        after=_moment(args, "from"),
    )


def to_query(wanted: Filter | EventFilter) -> str:
    """Return a filter as the query of an address, from which ``delivery_filter`` or ``event_filter`` makes it again."""
    values = {
        "event": wanted.event_pattern or wanted.event_name,
        "subject": wanted.subject,
        "source": wanted.source,
        "event_id": wanted.event_id,
        "from": wanted.after and _written(wanted.after),
        "to": wanted.before and _written(wanted.before),
    }
    if isinstance(wanted, Filter):
        refs = ",".join(map(str, wanted.refs))
        values = {"ref": refs, "status": wanted.status, "listener": wanted.listener, "error": wanted.error, **values}
    return urlencode({name: value for name, value in values.items() if value})


def _refs(args: Mapping[str, str]) -> tuple[int, ...]:
    text = args.get("ref", "")
    if not text:
        return ()
    if not _REFS.fullmatch(text) or len(refs := text.split(",")) > MAX_REFS:
        raise BadFilter(f"ref has the numbers of up to {MAX_REFS:,} deliveries, joined by commas, not {text!r:.80}.")
    return tuple(sorted({int(ref) for ref in refs}))


def _text(args: Mapping[str, str], name: str) -> str | None:
    value = args.get(name, "").strip()
    if len(value) > MAX_TEXT or "\x00" in value or any("\ud800" <= each <= "\udfff" for each in value):
        raise BadFilter(f"{name} is a text of up to {MAX_TEXT:,} characters, without NUL, not {value!r:.80}.")
    return value or None


def _moment(args: Mapping[str, str], name: str) -> datetime | None:
    value = args.get(name, "").strip()
    try:
        return parse_moment(value) if value else None
    except ValueError as error:
        raise BadFilter(f"{name}: {error}.") from None


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
