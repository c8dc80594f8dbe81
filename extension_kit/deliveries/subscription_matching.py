"""Subscription matching: finds the subscriptions of an event, by looking up every pattern that can match its name.

The cost depends on the name and on the number of matching subscriptions, not on the number of all subscriptions.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select, union_all

from extension_kit.deliveries.entries import Entry
from extension_kit.deliveries.tables import bounded, subscription_patterns, subscriptions
from extension_kit.events.patterns import MAX_INNER_WILDCARDS, MAX_PARTS
from extension_kit.store.lists import IsAnyOf
from extension_kit.store.prepared import PreparedStatement
from extension_kit.store.types import driver_time, from_driver_time

MAX_PATTERN = 255
"""Maximum length of a subscription's pattern."""

MAX_CANDIDATES = 3092
"""Number of patterns that can match a name of ``MAX_PARTS`` parts. A name of three parts, as most are, has 11."""

# In one query, plus those of one more name; twice as many variables are well within SQLite's limit.
_MOST_PATTERNS = 4000

# So few are looked up at once, without asking whether there are any subscriptions.
_FEW_PATTERNS = 64

# Between the clocks of machines with one PostgreSQL: rather an event too early than one too few.
_CLOCKS_APART = timedelta(seconds=1)

_DIGITS = 18  # of the number of a subscription; more would not fit its column

SUBSCRIPTION = "subscription:"
"""Beginning of the listener keys of subscriptions."""


def listener_key(ref: int) -> str:
    """Return the listener key of a subscription's deliveries."""
    return f"{SUBSCRIPTION}{ref}"


def subscription_ref(key: str) -> int | None:
    """Return the ref of the subscription with a listener key; None for a function's key."""
    ref = key.removeprefix(SUBSCRIPTION)
    return int(ref) if ref != key and ref.isdecimal() and len(ref) <= _DIGITS else None


def candidates(name: str) -> Iterator[str]:
    """Yield every storable pattern that matches a name, some perhaps twice; at most ``MAX_CANDIDATES``."""
    if not name:
        return
    parts = name.split(".", MAX_PARTS)
    heads = [("", 0)]  # beginnings that match, each with its number of *
    for place, part in enumerate(parts[:MAX_PARTS], 1):
        # Names come from outside: a part that no pattern can hold must neither cost time nor reach the database.
        steps = (part, "*") if len(part) <= MAX_PATTERN and "\x00" not in part else ("*",)
        for head, _ in heads:
            for step in steps if place == len(parts) else ("*",):
                if len(head) + len(step) <= MAX_PATTERN:
                    yield head + step
        longer = [(f"{head}{step}.", stars + (step == "*")) for head, stars in heads for step in steps]
        heads = [(head, stars) for head, stars in longer if stars <= MAX_INNER_WILDCARDS and len(head) < MAX_PATTERN]


def matching(connection: Connection, entries: Sequence[Entry]) -> list[list[str]]:
    """Find the subscriptions of events; this is the outbox's ``Match``.

    Args:
        connection: of the transaction that records them.
        entries: the events, each once.

    Returns:
        For each entry the listener keys of its enabled subscriptions that have not expired, oldest first. A
        subscription with a scope gets the events of this scope and those without any; none gets events that were
        received before it was made.
    """
    if not _are_there_any(connection):  # then, this is the whole extra cost of an event
        return [[] for _ in entries]
    keys: list[dict[str, None]] = [{} for _ in entries]
    now = datetime.now(UTC)
    for wanted in _by_pattern(entries):
        _look_up(connection, wanted, entries, now, keys)
    return list(map(list, keys))


def wanted_names(connection: Connection, names: Collection[str]) -> list[str]:
    """Return the event names, of those given, that an enabled, unexpired subscription wants."""
    patterns = {name: set(candidates(name)) for name in names}
    asked = list(set().union(*patterns.values()))
    if len(asked) > _FEW_PATTERNS and not _are_there_any(connection):
        return []
    now = datetime.now(UTC)
    driver: Any = connection.connection.driver_connection  # as in _are_there_any
    if connection.dialect.name == "sqlite":
        rows = driver.execute(_WANTED_SQLITE, (json.dumps(asked), driver_time(now, is_sqlite=True)))
    else:
        rows = driver.execute(_WANTED_POSTGRESQL, (asked, now))
    found = {pattern for (pattern,) in rows.fetchall()}
    return [name for name, those in patterns.items() if those & found]


def _are_there_any(connection: Connection) -> bool:
    """Return True if there are subscriptions. Through SQLAlchemy it would take ten times as long."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.execute(_ANY).fetchone()[0])


_BySubject = dict[str | None, list[int]]
"""Indexes of entries of one name by subject; under None those of all subjects."""

_Wanted = dict[str, list[_BySubject]]
"""Indexes of entries by matching pattern, for each name that it matches."""


def _by_pattern(entries: Sequence[Entry]) -> Iterator[_Wanted]:
    """Collect the patterns to look up, in portions of one query each; nearly always one."""
    by_name: dict[str, list[int]] = {}
    for place, entry in enumerate(entries):
        by_name.setdefault(entry.name, []).append(place)
    wanted: _Wanted = {}
    for name, places in by_name.items():
        if len(wanted) >= _MOST_PATTERNS:
            yield wanted
            wanted = {}
        by_subject: _BySubject = {None: places}
        for place in places:
            if subject := entries[place].subject:
                by_subject.setdefault(bounded(subject), []).append(place)
        for pattern in set(candidates(name)):
            wanted.setdefault(pattern, []).append(by_subject)
    yield wanted


def _look_up(
    connection: Connection,
    wanted: _Wanted,
    entries: Sequence[Entry],
    now: datetime,
    keys: Sequence[dict[str, None]],
) -> None:
    """Add the keys of matching subscriptions, oldest first, to those of each entry."""
    names = {id(by_subject): by_subject for each in wanted.values() for by_subject in each}.values()
    subjects = {subject for by_subject in names for subject in by_subject if subject is not None}
    found_scopes = {entries[place].scope for by_subject in names for place in by_subject[None]}
    scopes = {None if scope is None else bounded(scope) for scope in found_scopes}
    values = {"patterns": list(wanted), "subjects": list(subjects), "now": now}
    if None in scopes:
        found = _MATCHING.all(connection, **values)
    else:
        found = _MATCHING_SCOPES.all(connection, **values, scopes=["", *scopes])
    slack = timedelta(0) if connection.dialect.name == "sqlite" else _CLOCKS_APART
    for ref, pattern, subject, scope, made_at in sorted(found, key=itemgetter(0)):
        key, since = listener_key(ref), from_driver_time(made_at) - slack
        for by_subject in wanted[pattern]:
            for place in by_subject.get(subject, ()):
                entry = entries[place]
                if (not scope or entry.scope in (None, scope)) and (entry.received_at or now) >= since:
                    keys[place][key] = None


# One look-up for each pattern: however many subscriptions share it, the first is enough.
_WANTED = """
SELECT wanted.value FROM {patterns} WHERE (
    SELECT true
    FROM subscription_patterns JOIN subscriptions ON subscriptions.ref = subscription_patterns.subscription_ref
    WHERE subscription_patterns.pattern = wanted.value AND subscriptions.enabled
    AND (subscriptions.expires_at IS NULL OR subscriptions.expires_at > {now})
    LIMIT 1
)
"""
_WANTED_SQLITE = _WANTED.format(patterns="json_each(?) AS wanted", now="?")
_WANTED_POSTGRESQL = _WANTED.format(patterns="unnest(%s::text[]) AS wanted (value)", now="%s")

_ANY = "SELECT EXISTS (SELECT 1 FROM subscriptions)"

_WITH_PATTERNS = subscription_patterns.join(subscriptions)

_ENABLED = (
    select(subscription_patterns, subscriptions.c.created_at)
    .select_from(_WITH_PATTERNS)
    .where(IsAnyOf(subscription_patterns.c.pattern, "patterns"), subscriptions.c.enabled)
    .where(subscriptions.c.expires_at.is_(None) | (subscriptions.c.expires_at > bindparam("now")))
)


def _by_subject(enabled: Select[Any]) -> PreparedStatement:
    """Select by subject, in two branches instead of an OR, so that both use the index."""
    return PreparedStatement(
        union_all(
            enabled.where(subscription_patterns.c.subject.is_(None)),
            enabled.where(IsAnyOf(subscription_patterns.c.subject, "subjects")),
        )
    )


_MATCHING = _by_subject(_ENABLED)
_MATCHING_SCOPES = _by_subject(_ENABLED.where(IsAnyOf(subscription_patterns.c.scope, "scopes")))
