"""Protocols show their users the deliveries of a subscription, page by page, whatever else happens meanwhile."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update

from extension_kit import protocol
from extension_kit.deliveries import subscription_groups, subscriptions
from extension_kit.deliveries.claims import Attempt, End
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.replay import replay
from extension_kit.deliveries.retention import clean
from extension_kit.deliveries.subscription_matching import matching
from extension_kit.deliveries.tables import DEAD, DELIVERED, WAITING, deliveries
from extension_kit.protocol import Delivery, DeliveryAttempt
from extension_kit.senders import Outcome
from extension_kit.store import deadline
from tests.support.driving import claimed, written
from tests.support.recording import entry, queries

NOW = datetime.now(UTC).replace(microsecond=0)
LONG_AGO = NOW - timedelta(days=100)
OTHERS = 100_000


class Anything:
    def check(self, sender, target):
        return {}


@pytest.fixture
def subscribe(database):
    def subscribe(name="mine", *patterns, **more):
        with database.transaction() as connection:
            target = {"url": f"https://example.com/{name}"}
            wanted = {"name": name, "patterns": patterns or ["*"], "sender": "http", "target": target, **more}
            return subscriptions.add(connection, Anything(), protocol="pulp", **wanted).ref

    return subscribe


@pytest.fixture
def record(database):
    outbox = Outbox(database, matching)

    def record(*ids, **more):
        outbox.record([entry(each, "oncall", **more) for each in ids])

    return record


@pytest.fixture
def of(database):
    """The deliveries of a subscription."""

    def of(ref, **more) -> list[Delivery]:
        with database.read() as connection:
            return subscriptions.deliveries(connection, ref, **more)

    return of


def attempt(database, delivery: Delivery, outcome: Outcome, status: str, *, at=NOW):
    """End an attempt of a delivery."""
    claim = claimed(database, delivery.ref, at)
    made = Attempt(at, at, outcome.result, outcome, outcome.error)
    due_at = at + timedelta(hours=1) if status == WAITING else None
    assert written(database, End(claim, status, at, due_at, outcome.error, made))


def ids(found: list[Delivery]) -> list[str]:
    return [each.event_id for each in found]


def test_one_that_was_not_attempted_yet(subscribe, record, of):
    mine = subscribe()
    before = datetime.now(UTC)
    record("1", subject="repo-7", source="pulp", name="repo.sync.finish")
    (found,) = of(mine)
    assert found == Delivery(
        ref=found.ref,
        subscription=mine,
        event_source="pulp",
        event_id="1",
        event_name="repo.sync.finish",
        subject="repo-7",
        status="waiting",
        attempts=0,
        error=None,
        created_at=found.created_at,
        due_at=found.created_at,
        ended_at=None,
        last_attempt=None,
    )
    assert before <= found.created_at <= datetime.now(UTC)


def test_the_last_attempt_says_how_it_stands(database, subscribe, record, of):
    mine = subscribe()
    record("1")
    failed = Outcome("failed", "answered 503", 503, "busy")
    attempt(database, of(mine)[0], failed, WAITING)
    (found,) = of(mine)
    assert (found.status, found.attempts, found.error) == ("waiting", 1, "answered 503")
    assert (found.due_at, found.ended_at) == (NOW + timedelta(hours=1), None)
    assert found.last_attempt == DeliveryAttempt(1, "failed", 503, "answered 503", "busy", NOW, NOW)
    attempt(database, found, Outcome("delivered", status=204), DELIVERED)
    (found,) = of(mine)
    assert (found.status, found.error, found.due_at, found.ended_at) == ("delivered", None, None, NOW)
    assert (found.last_attempt.number, found.last_attempt.result, found.last_attempt.status) == (2, "delivered", 204)


def test_all_attempts_of_one_delivery_those_before_a_replay_among_them(database, subscribe, record, of):
    mine, other = subscribe(), subscribe("other")
    record("1")
    (found,) = of(mine)
    with database.read() as connection:
        assert subscriptions.attempts(connection, mine, found.ref) == []
    attempt(database, found, Outcome("refused", "answered 410", 410, "gone"), DEAD)
    list(replay(database, Filter(refs=(found.ref,))))
    attempt(database, of(mine)[0], Outcome("delivered", status=200), DELIVERED)
    with database.read() as connection:
        assert subscriptions.attempts(connection, mine, found.ref) == [
            DeliveryAttempt(1, "refused", 410, "answered 410", "gone", NOW, NOW),
            DeliveryAttempt(2, "delivered", 200, None, None, NOW, NOW),
        ]
        for ref, delivery in ((other, found.ref), (mine, found.ref + 1000), (mine, 0), (mine, -1), (mine, 2**63)):
            assert subscriptions.attempts(connection, ref, delivery) == []


def test_only_its_own_newest_first_and_by_status(database, subscribe, record, of):
    mine, other, idle = subscribe("mine", "a.*"), subscribe("other", "*"), subscribe("idle", "c")
    record("1", "2")
    record("3", name="b")
    record("4")
    assert ids(of(mine)) == ["4", "2", "1"]
    assert ids(of(other)) == ["4", "3", "2", "1"]
    assert of(idle) == of(1_000_000) == []
    attempt(database, of(mine)[1], Outcome("delivered", status=200), DELIVERED)
    assert ids(of(mine, status="delivered")) == ["2"]
    assert ids(of(mine, status="waiting")) == ["4", "1"]
    assert of(mine, status="dead") == of(mine, status="discarded") == []
    assert ids(of(mine, limit=2)) == ["4", "2"]


def test_pages_neither_repeat_nor_skip_one_while_more_arrive(subscribe, record, of):
    mine = subscribe()
    record(*map(str, range(7)))
    pages, last = [], None
    while page := of(mine, before=last, limit=3):
        pages.append(ids(page))
        last = page[-1].ref
        record(f"new-{len(pages)}")
    assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"]]
    assert ids(of(mine, limit=5)) == ["new-3", "new-2", "new-1", "6", "5"]


def test_pages_go_on_after_retention_has_removed_some(database, subscribe, record, of):
    mine = subscribe()
    record(*map(str, range(6)))
    old = of(mine)[1:4]
    for each in old:
        attempt(database, each, Outcome("delivered", status=200), DELIVERED, at=LONG_AGO)
    first = of(mine, limit=2)
    assert ids(first) == ["5", "4"]
    with database.transaction() as connection:
        connection.execute(text("UPDATE events SET received_at = :at"), {"at": str(LONG_AGO.replace(tzinfo=None))})
        connection.execute(
            update(deliveries).where(deliveries.c.listener == "oncall").values(ended_at=LONG_AGO, status=DELIVERED)
        )
    assert clean(database, 30, 1000, NOW).events == 3
    assert ids(of(mine, before=first[-1].ref, limit=2)) == ["1", "0"]
    with database.read() as connection:
        assert subscriptions.attempts(connection, mine, old[0].ref) == []


def test_those_of_a_removed_subscription_stay(database, subscribe, record, of):
    mine = subscribe()
    record("1")
    with database.transaction() as connection:
        subscriptions.remove(connection, mine)
    assert ids(of(mine)) == ["1"]


def test_those_of_a_group_together(database, record, of):
    def shown(group="g", **more):
        with database.read() as connection:
            return subscription_groups.deliveries(connection, "pulp", group, **more)

    targets = [subscription_groups.Target("http", {"url": f"https://example.com/{n}"}) for n in range(3)]
    with database.transaction() as connection:
        for group, mine in (("g", targets[:2]), ("h", targets[2:])):
            subscription_groups.set_targets(connection, Anything(), "pulp", group, mine, patterns=["*"])
        first, second = (each.ref for each in subscription_groups.get_group(connection, "pulp", "g"))
    record("1", "2")
    assert [(each.event_id, each.subscription) for each in shown()] == [
        ("2", second), ("2", first), ("1", second), ("1", first)
    ]  # fmt: skip
    page = shown(limit=3)
    assert [(each.event_id, each.subscription) for each in shown(before=page[-1].ref)] == [("1", first)]
    attempt(database, page[0], Outcome("delivered", status=200), DELIVERED)
    assert [each.ref for each in shown(status="delivered")] == [page[0].ref]
    assert shown("unknown") == []
    with database.transaction() as connection:
        subscription_groups.set_targets(connection, Anything(), "pulp", "g", targets[:1], patterns=["*"])
    assert {each.subscription for each in shown()} == {first}
    assert ids(of(second)) == ["2", "1"]


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 1001}, {"status": "lost"}])
def test_arguments_that_cannot_be_are_refused(subscribe, of, wrong):
    with pytest.raises(ValueError, match="deliver"):
        of(subscribe(), **wrong)


@pytest.mark.parametrize("before", [0, -(2**70), 2**70])
def test_any_number_may_be_given_for_a_page(subscribe, record, of, before):
    mine = subscribe()
    record("1")
    assert ids(of(mine, before=before)) == (["1"] if before > 0 else [])


def test_protocols_import_all_they_need():
    assert protocol.subscriptions.deliveries is subscriptions.deliveries
    assert protocol.subscription_groups.deliveries is subscription_groups.deliveries


class TestAmongManyOfOthers:
    @pytest.fixture(autouse=True)
    def many(self, database, subscribe):
        """Deliveries of others, and a few of one subscription, which are the oldest."""
        self.mine = subscribe()
        event = "INSERT INTO events (source, event_id, name, received_at, body)"
        delivery = (
            "INSERT INTO deliveries (event_ref, listener, status, attempts, earlier, created_at, due_at, ended_at)"
        )
        moment = "'2026-11-21 12:00:00.000000'"
        body = "x'7b7d'" if database.is_sqlite else "'{}'::bytea"
        numbers = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000) SELECT"
        numbers = f"{event} {numbers} 'pulp', n, 'a', {moment}, {body} FROM n"
        if not database.is_sqlite:
            numbers = f"{event} SELECT 'pulp', n, 'a', {moment}, {body} FROM generate_series(1, 1000) AS n"
        rows = f"'delivered', 1, 0, {moment}, {moment}, {moment}"
        with deadline.patiently(), database.transaction() as connection:
            connection.execute(text(numbers))
            of_event = f"SELECT ref, 'subscription:{self.mine}', {rows} FROM events ORDER BY ref LIMIT 50"
            connection.execute(text(f"{delivery} {of_event}"))
            for other in range(OTHERS // 1000):
                connection.execute(text(f"{delivery} SELECT ref, 'subscription:{9000 + other}', {rows} FROM events"))

    @pytest.fixture(params=[False, True], ids=["fresh", "analyzed"])
    def plan(self, request, database):
        """The plan of a statement."""
        if request.param:
            with deadline.patiently(), database.transaction() as connection:
                connection.execute(text("ANALYZE"))
        explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF)"

        def plan(statement, parameters):
            with database.read() as connection:
                found = str(connection.exec_driver_sql(f"{explain} {statement}", parameters).all())
            for scan in ("SCAN deliveries", "SCAN events", "Seq Scan"):
                assert scan not in found, found
            return found

        return plan

    def test_they_are_found_by_the_index_of_the_listener(self, database, of, plan):
        for asked in ({}, {"before": 10_000}, {"status": "delivered"}, {"status": "delivered", "before": 10_000}):
            with queries(database) as sent:
                assert len(of(self.mine, **asked)) == 50
            (found,) = (plan(*each) for each in sent)
            assert "ix_deliveries_listener_status" in found, found
            assert "rows=10" not in found, found  # as many thousands would be

    def test_those_of_events_are_found_by_the_index_of_events(self, database, plan):
        wanted = [(ref, str(number)) for ref in (self.mine, 9000, 9001) for number in range(1, 11)]
        with queries(database) as sent, database.read() as connection:
            found = subscriptions.deliveries_of_events(connection, "pulp", [*wanted, (9999, "1"), (9000, "none")])
        assert sorted((each.subscription, each.event_id) for each in found) == sorted(wanted)
        first, *_ = (plan(*each) for each in sent)
        assert "ix_deliveries_listener_status" not in first, first
        with database.read() as connection:
            assert subscriptions.deliveries_of_events(connection, "other", wanted) == []
            assert subscriptions.deliveries_of_events(connection, "pulp", []) == []
