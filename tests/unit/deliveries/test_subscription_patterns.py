"""A subscription with three patterns gets what any of them matches, once, and in one order."""

import pytest
from sqlalchemy import select

from extension_kit.deliveries import subscriptions
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.subscription_matching import matching
from extension_kit.deliveries.subscriptions import SubscriptionError
from extension_kit.deliveries.tables import deliveries, events, subscription_patterns
from tests.support.recording import entry

THREE = ("repo.publish.*", "repo.sync.finish", "repo.sync.start")


class Anything:
    def check(self, sender, target):
        return {}


@pytest.fixture
def subscribe(database):
    def subscribe(name="mine", patterns=THREE, **more):
        with database.transaction() as connection:
            own = {"protocol": "pulp", "name": name, "sender": "http", "target": {}}
            return subscriptions.add(connection, Anything(), **{**own, **more}, patterns=patterns)

    return subscribe


@pytest.fixture
def change(database):
    def change(ref, **changes):
        with database.transaction() as connection:
            return subscriptions.change(connection, Anything(), ref, **changes)

    return change


@pytest.fixture
def record(database):
    outbox = Outbox(database, matching)

    def record(*names, **more):
        """Record an event of each name, which is its id, too, for subscriptions only."""
        outbox.record([entry(name, name=name, **more)._replace(listeners=()) for name in names])

    return record


@pytest.fixture
def got(database):
    """The names of the events that have a delivery to a subscription, in the order of their deliveries."""

    def got(subscription, column=events.c.name):
        query = select(column).join_from(deliveries, events).where(deliveries.c.listener == subscription.key)
        with database.read() as connection:
            return list(connection.execute(query.order_by(deliveries.c.ref)).scalars())

    return got


def stored(database, ref):
    """The rows of a subscription's patterns."""
    columns = (subscription_patterns.c.pattern, subscription_patterns.c.subject, subscription_patterns.c.scope)
    with database.read() as connection:
        query = select(*columns).where(subscription_patterns.c.subscription_ref == ref)
        return sorted(tuple(row) for row in connection.execute(query.order_by("pattern")))


def test_three_are_made_read_changed_and_removed(database, subscribe, change):
    mine, other = subscribe(patterns=THREE[::-1], subject="repo-7", scope="anna"), subscribe("other")
    assert mine.patterns == other.patterns == THREE
    with database.read() as connection:
        assert subscriptions.get(connection, mine.ref) == mine
        assert subscriptions.find(connection, "pulp", "mine") == mine
    assert stored(database, mine.ref) == [(pattern, "repo-7", "anna") for pattern in THREE]

    changed = change(mine.ref, patterns=["repo.sync.*", "*", "repo.sync.*"])
    assert changed.patterns == ("*", "repo.sync.*")
    assert stored(database, mine.ref) == [("*", "repo-7", "anna"), ("repo.sync.*", "repo-7", "anna")]
    assert change(mine.ref, patterns=THREE).patterns == THREE
    with pytest.raises(SubscriptionError):
        change(mine.ref, patterns=[*THREE, "not.a*"])
    assert stored(database, mine.ref) == [(pattern, "repo-7", "anna") for pattern in THREE]

    with database.transaction() as connection:
        assert subscriptions.remove(connection, mine.ref)
    assert stored(database, mine.ref) == []
    assert stored(database, other.ref) == [(pattern, None, "") for pattern in THREE]


def test_each_of_the_three_matches_and_no_other_name(subscribe, record, got):
    mine = subscribe()
    record("repo.sync.start", "repo.sync", "repo.sync.finish", "repo.publish.start", "repo.sync.finished", "repo")
    assert got(mine) == ["repo.sync.start", "repo.sync.finish", "repo.publish.start"]


def test_an_event_that_two_of_them_match_is_delivered_once(subscribe, record, got):
    mine = subscribe(patterns=["repo.sync.*", "repo.*.start", "*"])
    every = subscribe("every", patterns=["*", "repo.*.*", "repo.sync.start"])
    record("repo.sync.start", "repo.sync.finish")
    record("repo.sync.start", "repo.publish.start")
    names = ["repo.sync.start", "repo.sync.finish", "repo.publish.start"]
    assert got(mine) == got(every) == names


def test_changed_patterns_are_for_events_recorded_from_then_on(database, subscribe, change, record, got):
    mine = subscribe()
    record("repo.sync.start", "repo.other")
    change(mine.ref, patterns=["repo.other", "repo.third", "repo.fourth"])
    record("repo.sync.start", "repo.other", "repo.sync.finish", "repo.third")
    assert got(mine) == ["repo.sync.start", "repo.third"]
    with database.transaction() as connection:
        subscriptions.remove(connection, mine.ref)
    record("repo.fourth")
    assert got(mine) == ["repo.sync.start", "repo.third"]


def test_the_deliveries_of_a_series_have_one_order_whatever_pattern_matched(subscribe, record, got):
    mine = subscribe()
    record("repo.sync.start", "repo.sync.finish", series="pulp:repo-7")
    record("repo.publish.start", series="pulp:repo-7")
    assert got(mine, deliveries.c.lock) == [f"{mine.key}|pulp:repo-7"] * 3
    assert got(mine, deliveries.c.place) == [1, 2, 3]


class TestWithout:
    """A protocol that makes the attempts itself may name the subscriptions of each event."""

    def test_it_gets_nothing_by_itself(self, database, subscribe, record, got):
        mine, others = subscribe(patterns=(), sender="protocol"), subscribe("others", patterns=["*"])
        assert mine.patterns == ()
        with database.read() as connection:
            assert subscriptions.get(connection, mine.ref) == mine
        record("repo.sync.start")
        assert (got(mine), got(others)) == ([], ["repo.sync.start"])

    @pytest.mark.parametrize("sender", ["http", "email", "amqp"])
    def test_other_senders_need_one(self, subscribe, sender):
        with pytest.raises(SubscriptionError, match="patterns: A list of 1 to 1000 patterns is needed"):
            subscribe(patterns=(), sender=sender)

    @pytest.mark.parametrize("patterns", [None, "", "repo.*", [""], ["a..b"], ["a"] * 1001, {}])
    def test_it_is_a_list_of_patterns_all_the_same(self, subscribe, patterns):
        with pytest.raises(SubscriptionError, match=r"^patterns: "):
            subscribe(patterns=patterns, sender="protocol")

    def test_they_can_be_added_and_taken_away(self, subscribe, change, record, got):
        mine = subscribe(patterns=(), sender="protocol")
        assert change(mine.ref, enabled=True).patterns == ()
        assert change(mine.ref, patterns=["repo.*"]).patterns == ("repo.*",)
        record("repo.added")
        assert change(mine.ref, patterns=[]).patterns == ()
        record("repo.removed")
        assert got(mine) == ["repo.added"]

    def test_the_former_name_of_the_first_is_an_empty_text(self, subscribe):
        with pytest.warns(DeprecationWarning, match="called Subscription.patterns now"):
            assert subscribe(patterns=(), sender="protocol").pattern == ""
