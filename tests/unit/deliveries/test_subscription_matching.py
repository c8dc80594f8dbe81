"""Which subscriptions want an event: the index of patterns in memory is right, and the look-up says the same."""

import json
import string
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, text

from extension_kit.deliveries import subscription_matching
from extension_kit.deliveries.entries import Entry
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.subscription_matching import (
    MAX_CANDIDATES,
    MAX_PATTERN,
    candidates,
    listener_key,
    matching,
    subscription_ref,
    wanted_names,
)
from extension_kit.deliveries.tables import deliveries, subscription_patterns, subscriptions
from extension_kit.errors import RegistrationError
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.patterns import MAX_PARTS, PatternIndex, check_pattern
from tests.support.recording import prepared_queries

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def is_pattern(text):
    try:
        check_pattern(text)
    except RegistrationError:
        return False
    return len(text) <= MAX_PATTERN and "\x00" not in text


part = st.text(string.ascii_lowercase[:2], min_size=1, max_size=2)
# Names come from outside and may hold anything.
odd_part = st.one_of(part, st.sampled_from(["", "*", "**", " ", "\x00", "ä", "x" * 300]))
names = st.lists(odd_part, max_size=5).map(".".join) | st.lists(part, min_size=14, max_size=19).map(".".join)
patterns = st.lists(st.one_of(part, st.just("*")), min_size=1, max_size=6).map(".".join).filter(is_pattern)


@st.composite
def names_and_patterns(draw):
    """A name, and patterns of which some are made from it."""
    name = draw(names)
    parts = name.split(".")
    near = st.integers(1, len(parts)).flatmap(
        lambda size: st.tuples(*(st.sampled_from([part, "*"]) for part in parts[:size])).map(".".join)
    )
    return name, draw(st.lists(st.one_of(patterns, near.filter(is_pattern)), max_size=12, unique=True))


def in_memory(patterns, name):
    index = PatternIndex()
    for pattern in patterns:
        index.add([pattern], pattern)
    return set(index.match(name))


@given(names_and_patterns())
@settings(max_examples=150)
@example(("a.*", ["a.*", "*", "a.b"]))
@example(("a..b", ["a.*.b", "*"]))
@example((".".join("a" * 17), [".".join(["a"] * 15 + ["*"]), ".".join("a" * 16)]))
def test_the_candidates_are_the_patterns_that_match(case):
    name, patterns = case
    found = set(candidates(name))
    assert {pattern for pattern in patterns if pattern in found} == in_memory(patterns, name)
    assert all("\x00" not in candidate and len(candidate) <= MAX_PATTERN for candidate in found)


@pytest.mark.parametrize(("parts", "number"), [(1, 2), (3, 11), (5, 45), (MAX_PARTS, MAX_CANDIDATES)])
def test_how_many_candidates_there_are(parts, number):
    name = ".".join(string.ascii_lowercase[:parts])
    assert len(list(candidates(name))) == len(set(candidates(name))) == number
    assert all(map(check_pattern, candidates(name)))


@pytest.mark.parametrize(
    "name",
    [".".join("ab" * 500), "." * 1000, "*." * 1000, "x" * 10**6, ".".join(["z" * 200] * 2), ("y" * 10**5 + ".") * 16],
)
def test_no_name_has_more_candidates_or_long_ones(name):
    found = list(candidates(name))
    assert len(found) <= MAX_CANDIDATES
    assert max(map(len, found)) <= MAX_PATTERN


def test_the_key_of_a_subscription_is_told_from_that_of_a_function():
    assert subscription_ref(listener_key(7)) == 7
    for key in ("oncall.page@/events/page", "subscription.page@/x", "subscription:", "subscription:x", "7"):
        assert subscription_ref(key) is None


def entry(name="a.b", subject=None, scope=None, *, event_id="1", series=None, listeners=()):
    return Entry("test", event_id, name, subject, None, b"{}", series, listeners, scope=scope)


def add(connection, *rows):
    """Add subscriptions, given by what differs from one to all events; returns their refs."""
    base = {"protocol": "test", "sender": "http", "target": {}, "created_at": NOW, "expires_at": None}
    base |= {"subject": None, "scope": "", "enabled": True}
    before = connection.execute(select(sqlalchemy.func.count()).select_from(subscriptions)).scalar_one()
    values = [base | {"name": f"s{before + place}"} | row for place, row in enumerate(rows)]
    wanted = [row.pop("patterns", ["*"]) for row in values]
    connection.execute(insert(subscriptions), values)
    refs = connection.execute(select(subscriptions.c.ref).order_by(subscriptions.c.ref)).scalars().all()[-len(rows) :]
    by_pattern = [
        {"subscription_ref": ref, "pattern": pattern, "subject": row["subject"], "scope": row["scope"]}
        for ref, row, patterns in zip(refs, values, wanted, strict=True)
        for pattern in set(patterns)
    ]
    connection.execute(insert(subscription_patterns), by_pattern)
    return refs


def few(patterns):
    return st.lists(patterns, min_size=1, max_size=3)


subjects = st.sampled_from([None, "s", "t", "", "\x00", "u" * 300])
rows = st.fixed_dictionaries(
    {"patterns": few(st.sampled_from(["*", "a.*", "a.b"]) | patterns), "subject": st.sampled_from([None, "s", "t"])}
)
asked = st.lists(st.tuples(st.sampled_from(["a", "a.b"]) | names, subjects), min_size=1, max_size=5)


def test_the_look_up_says_what_the_index_in_memory_says(database):
    @given(st.lists(rows, min_size=1, max_size=10), asked)
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def look_up(made, events):
        with database.engine.connect() as connection:  # and rolled back at the end
            refs = add(connection, *made)
            index = PatternIndex()
            for ref, row in zip(refs, made, strict=True):
                index.add(row["patterns"], (ref, row["subject"]))
            assert matching(connection, [entry(*event) for event in events]) == [
                [listener_key(ref) for ref, wanted in index.match(name) if wanted in (None, subject)]
                for name, subject in events
            ]

    look_up()


scopes = st.sampled_from([None, "anna", "ben", "", "\x00", "u" * 300])
scoped_rows = st.fixed_dictionaries(
    {"patterns": few(st.sampled_from(["*", "a.*", "a.b"])), "subject": st.sampled_from([None, "s"])}
    | {"scope": st.sampled_from(["", "anna", "ben", "u" * 255])}
)
scoped = st.lists(
    st.tuples(st.sampled_from(["a", "a.b", "c"]), st.sampled_from([None, "s"]), scopes), min_size=1, max_size=5
)


def test_a_subscription_with_a_scope_wants_what_is_of_this_scope_or_of_none(database):
    @given(st.lists(scoped_rows, min_size=1, max_size=10), scoped)
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @example([{"patterns": ["*"], "subject": None, "scope": "anna"}], [("a", None, "\x00"), ("a", None, "anna")])
    @example([{"patterns": ["*"], "subject": None, "scope": "anna"}], [("a", None, "ben"), ("a", None, None)])
    def look_up(made, events):
        with database.engine.connect() as connection:  # and rolled back at the end
            refs = add(connection, *made)
            assert matching(connection, [entry(*event) for event in events]) == [
                [
                    listener_key(ref)
                    for ref, row in zip(refs, made, strict=True)
                    if in_memory(row["patterns"], name)
                    and row["subject"] in (None, subject)
                    and (row["scope"] == "" or scope is None or row["scope"] == scope)
                ]
                for name, subject, scope in events
            ]

    look_up()


def test_the_wanted_names_are_those_that_patterns_match(database):
    @given(st.lists(rows, max_size=10), st.lists(names, min_size=1, max_size=5, unique=True))
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def look_up(made, asked):
        asked = [name for name in asked if len(name.split(".")) <= 4]
        with database.engine.connect() as connection:  # and rolled back at the end
            if made:
                add(connection, *made)
            found = wanted_names(connection, ["x.y", *asked])
            patterns = [pattern for row in made for pattern in row["patterns"]]
            assert found == [name for name in ["x.y", *asked] if in_memory(patterns, name)]

    look_up()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, ["killswitch.engaged"]),
        ({"patterns": ["*"]}, STEADYBIT_EVENT_NAMES),
        ({"patterns": ["echo.*"]}, []),
        ({"subject": "s"}, ["killswitch.engaged"]),
        ({"scope": "anna"}, ["killswitch.engaged"]),
        ({"enabled": False}, []),
        ({"expires_at": NOW - DAY}, []),
        ({"expires_at": NOW + DAY}, ["killswitch.engaged"]),
    ],
)
def test_names_are_wanted_by_who_could_get_an_event_of_them(database, row, expected):
    with database.transaction() as connection:
        add(connection, {"patterns": ["killswitch.engaged"]} | row, {"patterns": ["killswitch.*"], "enabled": False})
        assert wanted_names(connection, STEADYBIT_EVENT_NAMES) == list(expected)


def test_names_nobody_wants_where_there_is_no_subscription(database):
    with database.read() as connection:
        assert wanted_names(connection, STEADYBIT_EVENT_NAMES) == []


def test_all_names_of_agents_are_looked_up_by_the_index(database):
    asked = list({pattern for name in STEADYBIT_EVENT_NAMES for pattern in candidates(name)})
    with database.transaction() as connection:
        add(connection, *({"patterns": [f"echo.{n}" if n % 2 else "killswitch.engaged"]} for n in range(4000)))
        connection.execute(text("ANALYZE"))
        assert wanted_names(connection, STEADYBIT_EVENT_NAMES) == ["killswitch.engaged"]
        if database.is_sqlite:
            explained = f"EXPLAIN QUERY PLAN {subscription_matching._WANTED_SQLITE}", (json.dumps(asked), f"{NOW}")
        else:
            explained = f"EXPLAIN {subscription_matching._WANTED_POSTGRESQL}", (asked, NOW)
        plan = str(connection.exec_driver_sql(*explained).all())
    assert "ix_subscription_patterns_pattern" in plan
    assert "SCAN subscriptions" not in plan
    assert "Seq Scan" not in plan


def test_only_enabled_ones_that_have_not_expired(database):
    with database.transaction() as connection:
        now = datetime.now(UTC)
        refs = add(
            connection,
            {"enabled": False},
            {"expires_at": now},
            {"expires_at": now + DAY},
            {"expires_at": now - DAY},
        )
        assert matching(connection, [entry()]) == [[listener_key(refs[2])]]


def test_a_group_takes_one_query_and_none_where_there_is_no_subscription(database):
    group = [entry(f"a.b.n{number % 7}", f"s{number}") for number in range(100)]
    with prepared_queries() as sent, database.transaction() as connection:
        assert matching(connection, group) == [[]] * 100
        assert sent == []
        (ref,) = add(connection, {"patterns": ["a.*.n3"], "subject": "s3"})
        sent.clear()
        assert [place for place, keys in enumerate(matching(connection, group)) if keys == [listener_key(ref)]] == [3]
        assert len(sent) == 1


def test_many_names_of_many_parts_are_asked_for_in_portions(database):
    group = [entry(".".join([f"n{number}", *"bcdefghijklmnop"])) for number in range(5)]
    with prepared_queries() as sent, database.transaction() as connection:
        made = [
            {"patterns": [f"*.b.*.d.*.{'.'.join('fghijklmno')}.*"]},
            {"patterns": ["n1.*"]},
            {"patterns": [group[4].name]},
        ]
        everyone, second, last = map(listener_key, add(connection, *made))
        sent.clear()
        assert matching(connection, group) == [[everyone], [everyone, second], [everyone], [everyone], [everyone, last]]
        assert 1 < len(sent) < len(group)


def test_subscriptions_are_looked_up_by_their_index(database):
    with database.transaction() as connection:
        add(connection, *({"patterns": [f"a.b{n}", "never"]} for n in range(5000)))
        connection.execute(text("ANALYZE"))
        with prepared_queries() as sent:
            matching(connection, [entry("a.b7", "s1"), entry("a.b8", "s2"), entry("c.d.e")])
        ((statement, values),) = sent
        explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        plan = str(connection.connection.driver_connection.execute(f"{explain} {statement}", values).fetchall())
    assert plan.count("ix_subscription_patterns_pattern") >= 2, plan
    assert "SCAN subscriptions" not in plan
    assert "Seq Scan" not in plan


class TestRecording:
    def made(self, database):
        columns = deliveries.c.listener, deliveries.c.lock, deliveries.c.place
        with database.read() as connection:
            return [tuple(row) for row in connection.execute(select(*columns).order_by(deliveries.c.ref))]

    def test_a_recorded_event_is_delivered_to_subscriptions_beside_the_functions(self, database):
        outbox = Outbox(database, matching)
        with database.transaction() as connection:
            first, second = map(
                listener_key, add(connection, {"patterns": ["a.*"]}, {"patterns": ["a.b"], "subject": "x"})
            )
        assert outbox.record([entry(subject="x", series="k", listeners=("f",), event_id="1")]) == 3
        assert outbox.record([entry(subject="y", series="k", event_id="2"), entry("c", event_id="3")]) == 1
        assert self.made(database) == [
            ("f", "f|k", 1),
            (first, f"{first}|k", 1),
            (second, f"{second}|k", 1),
            (first, f"{first}|k", 2),
        ]

    def test_an_event_that_comes_again_is_not_delivered_to_subscriptions_again_or_late(self, database):
        outbox = Outbox(database, matching)
        with database.transaction() as connection:
            (early,) = map(listener_key, add(connection, {}))
        assert outbox.record([entry(listeners=("f",)), entry(listeners=("g",))]) == 3
        with database.transaction() as connection:
            add(connection, {})
        assert outbox.record([entry(listeners=("f", "h"))]) == 1
        assert sorted(listener for listener, *_ in self.made(database)) == ["f", "g", "h", early]
