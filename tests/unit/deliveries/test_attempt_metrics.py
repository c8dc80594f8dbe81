"""Which results of attempts are counted, as the database has them in the end."""

from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import insert, update

from extension_kit.deliveries.attempt import Attempts, Handler
from extension_kit.deliveries.hung_runs import AbandonedRuns
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import WAITING, deliveries, events
from extension_kit.observability import metrics
from extension_kit.senders import Outcome
from tests.unit.deliveries.driving import drive

LISTENER = "oncall.page@/events/page"
KINDS = ("delivered", "failed", "dead")


@pytest.fixture
def ref(database):
    """A delivery that waits."""
    now = datetime.now(UTC)
    with database.transaction() as connection:
        event = {"ref": 1, "source": "test", "event_id": "1", "name": "a", "body": b"{}", "received_at": now}
        connection.execute(insert(events).values(**event))
        delivery = {"ref": 1, "event_ref": 1, "listener": LISTENER, "status": WAITING}
        connection.execute(insert(deliveries).values(**delivery, created_at=now, due_at=now))
    return 1


@pytest.fixture
def counted():
    """How many attempts by result, and how many durations, were counted since the beginning of the test."""

    def read():
        labels = {"listener": LISTENER}
        results = [
            REGISTRY.get_sample_value("extension_deliveries_total", {**labels, "result": kind}) for kind in KINDS
        ]
        return [*results, REGISTRY.get_sample_value("extension_delivery_attempt_seconds_count", labels)]

    metrics.start()
    metrics.describe("extension-oncall", "1", (), [LISTENER])
    before = read()
    return lambda: dict(zip((*KINDS, "took"), map(int.__sub__, map(int, read()), map(int, before)), strict=True))


@pytest.mark.parametrize(
    ("outcome", "delays", "expected"),
    [
        (Outcome("delivered"), (10.0,), "delivered"),
        (Outcome("failed", "busy"), (10.0,), "failed"),
        (Outcome("failed", "busy"), (), "dead"),
        (Outcome("refused", "no"), (10.0,), "dead"),
    ],
)
def test_an_attempt_is_counted_by_what_became_of_the_delivery(database, ref, counted, outcome, delays, expected):
    handler = Handler(lambda due: outcome, RetrySchedule(delays), 30.0)
    drive(Attempts(database, lambda listener, connection: handler, AbandonedRuns(99, list))(ref))
    assert counted() == {**dict.fromkeys(KINDS, 0), expected: 1, "took": 1}


def test_a_delivery_whose_attempts_were_all_lost_is_dead_and_took_nobody_knows_how_long(database, ref, counted):
    with database.transaction() as connection:
        connection.execute(update(deliveries).values(attempts=1))
    handler = Handler(lambda due: Outcome("delivered"), RetrySchedule(()), 30.0)
    assert drive(Attempts(database, lambda listener, connection: handler, AbandonedRuns(99, list))(ref)) is None
    assert counted() == {"delivered": 0, "failed": 0, "dead": 1, "took": 0}


def test_an_attempt_that_no_longer_counts_is_not_counted(database, ref, counted):
    def be_overtaken(due):
        with database.transaction() as connection:
            connection.execute(update(deliveries).values(attempts=2))
        return Outcome("delivered")

    handler = Handler(be_overtaken, RetrySchedule((10.0,)), 30.0)
    drive(Attempts(database, lambda listener, connection: handler, AbandonedRuns(99, list))(ref))
    assert not any(counted().values())


def test_nothing_is_counted_of_a_delivery_that_has_ended(database, ref, counted):
    handler = Handler(lambda due: Outcome("delivered"), RetrySchedule(()), 30.0)
    attempts = Attempts(database, lambda listener, connection: handler, AbandonedRuns(99, list))
    drive(attempts(ref))
    drive(attempts(ref))
    assert counted() == {"delivered": 1, "failed": 0, "dead": 0, "took": 1}
