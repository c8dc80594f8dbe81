"""Both stores match names as patterns are matched elsewhere, and find texts by their exact beginning."""

from itertools import product

import pytest
from sqlalchemy import select

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.tables import deliveries, events
from extension_kit.deliveries.text_conditions import MatchesPattern, begins_with
from extension_kit.errors import RegistrationError
from extension_kit.events.patterns import PatternIndex
from tests.support.recording import entry

ODD = [
    "A.b",
    "a.B",
    "a[b].c",
    "a?.c",
    "ab.c",
    "a-b.c",
    "ä.c",
    "a%.c",
    "a_.c",
    "a\nb.c",
    "*",
    "a.*",
    "+.c",
    "a..b",
    ".a",
]
NAMES = [".".join(parts) for length in range(1, 5) for parts in product("ab", repeat=length)] + ODD
PATTERNS = [
    *(".".join(parts) for length in range(1, 5) for parts in product("a*", repeat=length)),
    *("a[b].c", "a?.c", "a[b].*", "*.c", "a-b.*", "ä.c", "Ä.c", "a%.c", "a_.*", "+.c", "*.*.b", "b.*.a.*"),
]


def test_names_are_matched_as_by_listeners(database):
    Outbox(database).record([entry(str(number), name=name) for number, name in enumerate(NAMES)])
    with database.read() as connection:
        for pattern in PATTERNS:
            index = PatternIndex()
            index.add([pattern], True)
            # No event has a name with an empty part; stores need not agree with listeners on it.
            expected = {name for name in NAMES if index.match(name) and "" not in name.split(".")}
            found = connection.execute(select(events.c.name).where(MatchesPattern(events.c.name, pattern))).scalars()
            assert {name for name in found if "" not in name.split(".")} == expected, pattern


def test_a_bad_pattern_is_refused():
    with pytest.raises(RegistrationError, match="is not an event name"):
        MatchesPattern(events.c.name, "a.b*")


def test_beginnings(database):
    keys = ["a", "ab", "abc", "aB", "A", "a%", "b", "é", "éa", "z\ud7ff", "z\ue000", "\U0010ffff", "\U0010ffffx"]
    Outbox(database).record([entry("1", *keys)])
    with database.read() as connection:
        for text in ["", *keys, "abcd", "z", "a_"]:
            query = select(deliveries.c.listener).where(begins_with(deliveries.c.listener, text))
            assert set(connection.execute(query).scalars()) == {key for key in keys if key.startswith(text)}, text
