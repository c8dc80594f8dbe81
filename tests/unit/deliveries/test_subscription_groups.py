"""Groups of subscriptions: what stays is not touched, what waits is sent on, and what goes is gone."""

from datetime import UTC, datetime, timedelta
from secrets import token_hex

import pytest
from sqlalchemy import insert

from extension_kit.deliveries import subscription_groups, subscriptions
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.deliveries.subscription_groups import MOST_COUNTED, MOST_TARGETS, Target
from extension_kit.deliveries.subscriptions import SubscriptionError
from extension_kit.deliveries.tables import DEAD, WAITING, deliveries, events
from extension_kit.settings.kit import Settings

NOW = datetime.now(UTC)
A, B, C = (Target("http", {"url": f"https://example.com/{name}"}) for name in "abc")
MAIL, LIST = (Target("email", {"to": [f"{name}@example.com"]}) for name in ("anna", "list"))
WANTED = {"patterns": ["jobs.*"], "subject": "s"}


class Checked:
    """Senders that check targets, and know which ones they were asked about."""

    def __init__(self, senders):
        self._senders = senders
        self.targets = []

    def check(self, sender, target):
        self.targets.append(Target(sender, target))
        return self._senders.check(sender, target)


@pytest.fixture
def senders():
    senders = Senders(Settings(smtp_host="mail.example.com", smtp_sender="kit@example.com"))
    yield Checked(senders)
    senders.close()


@pytest.fixture
def connection(database):
    with database.transaction() as connection:
        yield connection


@pytest.fixture
def set_targets(connection, senders):
    def set_targets(*targets, group="g", **wanted):
        subscription_groups.set_targets(connection, senders, "tapis", group, targets, **{**WANTED, **wanted})
        return subscription_groups.get_group(connection, "tapis", group)

    return set_targets


def targets_of(group):
    return [Target(each.sender, each.target) for each in group]


def test_a_group_has_a_subscription_for_each_target(connection, set_targets):
    made = set_targets(A, MAIL, A, scope="anna", retry=[1], expires_at=NOW)
    assert targets_of(made) == [A, MAIL, A]
    assert {(each.protocol, each.group, each.patterns, each.subject, each.scope) for each in made} == {
        ("tapis", "g", ("jobs.*",), "s", "anna")
    }
    assert {(tuple(each.retry), each.expires_at, each.enabled) for each in made} == {((1,), NOW, True)}
    assert subscriptions.find_all(connection, "tapis") == made
    assert subscription_groups.get_group(connection, "tapis", "other") == []
    assert subscription_groups.get_group(connection, "pulp", "g") == []


def test_a_target_that_stays_keeps_its_subscription_and_is_not_checked_again(senders, set_targets):
    before = set_targets(A, B)
    senders.targets.clear()
    after = set_targets(B, C, A)
    assert {each.ref: each.target for each in before}.items() <= {each.ref: each.target for each in after}.items()
    assert senders.targets == [C]


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ([A, B], [C, B], 2),  # C comes for A
        ([A, MAIL], [LIST, C], 2),  # each for the one of its sender
        ([A], [MAIL], 0),
        ([A, B, C], [B], 1),
        ([A, A], [A], 1),
        ([A], [A, A], 1),
        ([A, B], [], 0),
        ([], [A], 0),
    ],
)
def test_what_comes_takes_the_place_of_what_goes(set_targets, before, after, kept):
    refs = {each.ref for each in set_targets(*before)}
    changed = set_targets(*after)
    assert sorted(map(str, targets_of(changed))) == sorted(map(str, after))
    assert len(refs & {each.ref for each in changed}) == kept


def test_what_is_wanted_changes_for_all(set_targets):
    before = set_targets(A, B, scope="anna")
    after = set_targets(A, B, patterns=["a.*", "b"], subject=None, enabled=False, retry=[2], expires_at=NOW)
    assert [each.ref for each in after] == [each.ref for each in before]
    for each in after:
        assert (each.patterns, each.subject, each.scope, each.enabled) == (("a.*", "b"), None, "anna", False)
        assert (each.retry, each.expires_at) == ([2], NOW)


@pytest.mark.parametrize(
    ("targets", "wanted", "key", "place"),
    [
        ([A, Target("http", {"url": "nowhere"})], {}, "target.url", 1),
        ([A, Target("pigeon", {})], {}, "sender", 1),
        ([A, B], {"patterns": []}, "patterns", 0),
        ([A, B], {"retry": [-1]}, "retry", 0),
        ([A], {"group": "g" * 231}, "group", 0),
    ],
)
def test_what_cannot_work_is_refused(set_targets, targets, wanted, key, place):
    with pytest.raises(SubscriptionError) as refused:
        set_targets(*targets, **wanted)
    assert refused.value.problems.keys() == {key}
    assert refused.value.place == place


def test_one_whose_sender_cannot_be_used_any_more_can_be_disabled(connection, set_targets):
    (made,) = set_targets(MAIL)
    without_mail = Senders(Settings())
    subscription_groups.set_targets(connection, without_mail, "tapis", "g", [MAIL], **WANTED, enabled=False)
    without_mail.close()
    assert subscriptions.get(connection, made.ref).enabled is False


def test_groups_end_and_go_together(connection, set_targets):
    first, second, third = (set_targets(A, B, group=name) for name in ("g", "h", "i"))
    soon = NOW + timedelta(minutes=1)
    subscription_groups.end_groups(connection, "tapis", ["g", "h"], soon)
    refs = [each.ref for each in (*first, *second, *third)]
    assert [subscriptions.get(connection, ref).expires_at for ref in refs] == [soon, soon, soon, soon, None, None]
    subscription_groups.remove_groups(connection, "tapis", ["g"])
    subscription_groups.remove_groups(connection, "pulp", ["h"])
    assert [each.group for each in subscriptions.find_all(connection)] == ["h", "h", "i", "i"]
    assert set_targets(A, group="g")[0].ref > max(refs)


def test_it_is_said_for_which_groups_something_waits(connection, set_targets):
    first, _, third = (set_targets(A, B, group=name) for name in ("g", "h", "i"))
    event = {"source": "t", "event_id": "1", "name": "a", "body": b"{}", "received_at": NOW, "ref": 1}
    connection.execute(insert(events).values(event))
    for listener, status in ((first[1].key, WAITING), (third[0].key, "delivered")):
        row = {"event_ref": 1, "listener": listener, "status": status, "created_at": NOW, "due_at": NOW}
        connection.execute(insert(deliveries).values(row))
    assert subscription_groups.waiting_groups(connection, "tapis", ["g", "h", "i"]) == {"g"}
    assert subscription_groups.waiting_groups(connection, "tapis", []) == set()


class TestCounts:
    @pytest.fixture
    def add(self, connection):
        def add(subscription, status, number):
            for _ in range(number):
                event = {"source": "s", "event_id": token_hex(8), "name": "n", "received_at": NOW, "body": b"{}"}
                ref = connection.execute(insert(events).values(event).returning(events.c.ref)).scalar_one()
                values = {"event_ref": ref, "listener": subscription.key, "status": status}
                connection.execute(insert(deliveries).values(**values, created_at=NOW, due_at=NOW))

        return add

    def count(self, connection, *groups):
        found = subscription_groups.count_deliveries(connection, "tapis", groups)
        return {group: tuple(counts) for group, counts in found.items()}

    def test_are_those_of_all_targets_of_each_group(self, connection, set_targets, add):
        first, second = set_targets(A, MAIL)
        (other,) = set_targets(B, group="other")
        for subscription, status, number in (
            *((first, WAITING, 1), (first, DEAD, 2), (first, "delivered", 4)),
            *((second, WAITING, 3), (other, DEAD, 1)),
        ):
            add(subscription, status, number)
        set_targets(C, group="idle")
        assert self.count(connection, "g", "other", "idle", "unknown") == {
            "g": (4, 2, True),
            "other": (0, 1, True),
            "idle": (0, 0, True),
            "unknown": (0, 0, True),
        }
        assert self.count(connection) == {}
        assert subscription_groups.count_deliveries(connection, "pulp", ["g"])["g"] == (0, 0, True)

    def test_end_at_a_number_of_deliveries_and_targets(self, connection, set_targets, add):
        targets = [Target("http", {"url": f"https://example.com/{number}"}) for number in range(MOST_TARGETS + 1)]
        made = set_targets(*targets[:-1])
        add(made[0], WAITING, 2)
        counts = subscription_groups.count_deliveries(connection, "tapis", ["g"])["g"]
        assert (counts.is_complete, counts.shown) == (True, (2, 0))
        set_targets(*targets)
        counts = subscription_groups.count_deliveries(connection, "tapis", ["g"])["g"]
        assert (counts.is_complete, counts.shown) == (False, ("2 or more", "0 or more"))
        add(set_targets(A, group="busy")[0], DEAD, MOST_COUNTED)
        assert self.count(connection, "busy") == {"busy": (0, MOST_COUNTED, False)}
