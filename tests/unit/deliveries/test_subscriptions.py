"""Subscriptions are made, changed and removed, and what cannot work is refused with reasons before it is stored."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import insert, select

from extension_kit.deliveries import subscriptions
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.deliveries.subscriptions import SubscriptionError
from extension_kit.deliveries.tables import DELIVERED, WAITING, deliveries, events
from extension_kit.settings.kit import Settings

LATER = datetime.now(UTC) + timedelta(days=1)
GOOD = {
    "protocol": "tapis",
    "name": "mine",
    "patterns": ["jobs.*"],
    "sender": "http",
    "target": {"url": "https://example.com/s3cret"},
}


@pytest.fixture
def senders():
    senders = Senders(Settings())
    yield senders
    senders.close()


@pytest.fixture
def connection(database):
    with database.transaction() as connection:
        yield connection


@pytest.fixture
def add(connection, senders):
    return lambda **more: subscriptions.add(connection, senders, **{**GOOD, **more})


def test_one_is_stored_as_it_was_given(connection, add):
    before = datetime.now(UTC)
    plain = add()
    assert (plain.protocol, plain.name, plain.target) == tuple(GOOD[key] for key in ("protocol", "name", "target"))
    assert (plain.patterns, plain.group) == (("jobs.*",), None)
    assert (plain.subject, plain.retry, plain.enabled, plain.expires_at) == (None, None, True, None)
    assert plain.scope == ""
    assert before <= plain.created_at <= datetime.now(UTC)
    assert plain.key == f"subscription:{plain.ref}"
    full = add(name="full", subject="s", scope="anna", retry=(1, 2.5), enabled=False, expires_at=LATER)
    assert (full.subject, full.scope, full.retry, full.enabled) == ("s", "anna", [1, 2.5], False)
    assert full.expires_at == LATER
    assert subscriptions.get(connection, full.ref) == full
    assert subscriptions.find(connection, "tapis", "mine") == plain


def test_what_is_not_there_is_not_found(connection, senders):
    assert subscriptions.get(connection, 1) is None
    assert subscriptions.find(connection, "tapis", "mine") is None
    assert subscriptions.change(connection, senders, 1, enabled=False) is None
    assert subscriptions.remove(connection, 1) is False


def test_the_target_is_not_shown(add):
    assert "s3cret" not in repr(add())


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ({"protocol": ""}, {"protocol"}),
        ({"protocol": "p" * 65}, {"protocol"}),
        ({"name": "n" * 256}, {"name"}),
        ({"name": None}, {"name"}),
        ({"subject": "a\x00b"}, {"subject"}),
        ({"subject": ""}, {"subject"}),
        ({"scope": None}, {"scope"}),
        ({"scope": "s" * 256}, {"scope"}),
        ({"scope": "a\x00b"}, {"scope"}),
        ({"group": ""}, {"group"}),
        ({"group": "g" * 256}, {"group"}),
        ({"patterns": []}, {"patterns"}),
        ({"patterns": "jobs.*"}, {"patterns"}),
        ({"patterns": ["jobs.*", "jobs.x*"]}, {"patterns"}),
        ({"patterns": ["j" * 256]}, {"patterns"}),
        ({"patterns": ["j\x00"]}, {"patterns"}),
        ({"patterns": ["*", None]}, {"patterns"}),
        ({"patterns": [f"jobs.{n}" for n in range(1001)]}, {"patterns"}),
        ({"sender": "pigeon"}, {"sender"}),
        ({"sender": "email", "target": {"to": ["a@example.com"]}}, {"sender"}),
        ({"target": {"url": "nowhere"}}, {"target.url"}),
        ({"target": {"url": "https://example.com", "ok": [1], "colour": "red"}}, {"target.ok", "target.colour"}),
        ({"target": None}, {"target._schema"}),
        ({"retry": [-1]}, {"retry"}),
        ({"retry": "soon"}, {"retry"}),
        ({"expires_at": datetime(2030, 1, 1)}, {"expires_at"}),
        ({"expires_at": "tomorrow"}, {"expires_at"}),
        ({"name": "", "patterns": [""], "target": {}, "retry": [None]}, {"name", "patterns", "target.url", "retry"}),
    ],
)
def test_what_cannot_work_is_refused_with_all_its_problems(connection, add, given, keys):
    with pytest.raises(SubscriptionError) as refused:
        add(**given)
    assert refused.value.problems.keys() == keys
    assert all(str(refused.value).count(f"{key}: ") == 1 for key in keys)
    assert "s3cret" not in str(refused.value)
    assert subscriptions.find_all(connection) == []


def test_a_name_is_unique_within_its_protocol(connection, add):
    first = add()
    with pytest.raises(SubscriptionError) as refused:
        add(patterns=["*"])
    assert refused.value.problems.keys() == {"name"}
    other = add(protocol="pulp")
    assert subscriptions.find_all(connection) == [first, other]


def test_patterns_are_kept_once_and_in_order(connection, senders, add):
    made = add(patterns=["b", "a.*", "b"])
    assert made.patterns == ("a.*", "b")
    assert subscriptions.change(connection, senders, made.ref, patterns=["c", "b"]).patterns == ("b", "c")


def test_a_pattern_may_be_given_as_the_release_before_had_it(connection, senders, add):
    with pytest.warns(DeprecationWarning, match="patterns"):
        made = subscriptions.add(connection, senders, **{**GOOD, "patterns": ()}, pattern="jobs.new")
    with pytest.warns(DeprecationWarning, match="patterns"):
        assert made.pattern == "jobs.new"
    with pytest.warns(DeprecationWarning, match="patterns"):
        assert subscriptions.change(connection, senders, made.ref, pattern="*").patterns == ("*",)


def test_they_are_listed_page_by_page(connection, add):
    made = [add(name=str(number), protocol="tapis" if number % 2 else "pulp") for number in range(5)]
    assert subscriptions.find_all(connection, limit=2) == made[:2]
    assert subscriptions.find_all(connection, after=made[1].ref, limit=2) == made[2:4]
    assert subscriptions.find_all(connection, "tapis") == made[1::2]


@pytest.mark.parametrize(
    "changes",
    [
        {"enabled": False},
        {"target": {"url": "https://example.com/other"}},
        {"retry": [3]},
        {"retry": None},
        {"expires_at": LATER},
        {"expires_at": None, "enabled": True},
        {"patterns": ("jobs.*.failed", "jobs.new")},
        {"subject": "s"},
        {"subject": None},
        {"patterns": ("*",), "subject": None, "enabled": False},
    ],
)
def test_what_is_changed_is_changed_and_nothing_else(connection, senders, add, changes):
    other = add(name="other")
    before = add(retry=[1], expires_at=LATER + timedelta(hours=1), subject="old", scope="anna")
    after = subscriptions.change(connection, senders, before.ref, **changes)
    same = {key for key in before.__slots__ if getattr(after, key) == getattr(before, key)}
    assert {key: getattr(after, key) for key in changes} == changes
    assert same >= set(before.__slots__) - changes.keys()
    assert subscriptions.find_all(connection) == [other, after]


def test_a_time_is_the_same_in_every_zone(add):
    there = LATER.astimezone(timezone(timedelta(hours=9)))
    assert add(expires_at=there).expires_at == LATER


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"enabled": False, "retry": [-1], "target": {"url": "x"}}, {"retry", "target.url"}),
        ({"enabled": False, "patterns": ["jobs.x*"]}, {"patterns"}),
        ({"patterns": ["p" * 256], "subject": ""}, {"patterns", "subject"}),
        ({"subject": "s" * 256, "expires_at": datetime(2030, 1, 1)}, {"subject", "expires_at"}),
    ],
)
def test_a_change_that_cannot_work_changes_nothing(connection, senders, add, changes, keys):
    before = add()
    with pytest.raises(SubscriptionError) as refused:
        subscriptions.change(connection, senders, before.ref, **changes)
    assert refused.value.problems.keys() == keys
    assert subscriptions.get(connection, before.ref) == before


def test_it_is_said_for_which_something_waits(connection, add):
    busy, done, idle, other = (add(name=name) for name in ("busy", "done", "idle", "other"))
    event = {"source": "t", "event_id": "1", "name": "a", "body": b"{}", "received_at": LATER}
    made = [
        (1, busy.key, WAITING), (2, busy.key, DELIVERED), (3, busy.key, WAITING), (1, done.key, DELIVERED),
        (1, other.key, WAITING), (1, f"{idle.key}0", WAITING), (1, "oncall.page@/events/page", WAITING),
    ]  # fmt: skip
    for ref in (1, 2, 3):
        connection.execute(insert(events).values({**event, "ref": ref, "event_id": str(ref)}))
    times = {"created_at": LATER, "due_at": LATER}
    connection.execute(
        insert(deliveries),
        [{"event_ref": ref, "listener": listener, "status": status, **times} for ref, listener, status in made],
    )
    assert subscriptions.waiting(connection, [busy.ref, done.ref, idle.ref]) == {busy.ref}
    assert subscriptions.waiting(connection, {other.ref, 1_000_000}) == {other.ref}
    assert subscriptions.waiting(connection, []) == set()


def test_a_moment_is_settled_when_what_was_being_recorded_then_has_been(database):
    with database.transaction() as connection:
        assert subscriptions.is_settled(connection, datetime.now(UTC) - timedelta(seconds=1))
    if database.is_sqlite:
        return  # there is one transaction at a time
    with database.transaction() as recording:
        recording.execute(select(1))
        moment = datetime.now(UTC)
        with database.transaction() as connection:
            assert not subscriptions.is_settled(connection, moment)
            assert subscriptions.is_settled(connection, moment - timedelta(seconds=30))
    with database.transaction() as connection:
        assert subscriptions.is_settled(connection, moment)


def test_a_number_is_not_given_again(connection, add):
    removed = add()
    assert subscriptions.remove(connection, removed.ref) is True
    assert subscriptions.get(connection, removed.ref) is None
    assert add().ref > removed.ref


def test_one_whose_sender_cannot_be_used_any_more_can_be_disabled(connection, senders):
    target = {"to": ["anna@example.org"]}
    with_mail = Senders(Settings(smtp_host="mail.example.com", smtp_sender="kit@example.com"))
    made = subscriptions.add(connection, with_mail, **{**GOOD, "sender": "email", "target": target})
    assert subscriptions.change(connection, senders, made.ref, enabled=False).enabled is False
    with pytest.raises(SubscriptionError, match="EXTENSION_SMTP_HOST"):
        subscriptions.change(connection, senders, made.ref, target=target)
