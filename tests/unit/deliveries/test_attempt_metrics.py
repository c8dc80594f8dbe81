"""Which results of attempts are counted, as the database has them in the end."""

from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import insert

from extension_kit.deliveries.attempt import after_loss
from extension_kit.deliveries.handler import Handler
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import DEAD, WAITING, deliveries, events
from extension_kit.observability import metrics
from extension_kit.senders import Outcome
from tests.support.driving import claimed, make_attempt, written
from tests.support.recording import change

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


def attempt(database, outcome, *delays):
    act = outcome if callable(outcome) else lambda due: outcome
    handler = Handler(act, RetrySchedule(delays), 30.0)
    return make_attempt(database, lambda listener, connection: handler, 1)


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
    attempt(database, outcome, *delays)
    assert counted() == {**dict.fromkeys(KINDS, 0), expected: 1, "took": 1}


def test_a_delivery_whose_attempts_were_all_lost_is_dead_and_took_nobody_knows_how_long(database, ref, counted):
    change(database, attempts=1)
    assert attempt(database, Outcome("delivered")).status == DEAD
    assert counted() == {"delivered": 0, "failed": 0, "dead": 1, "took": 0}


def test_losses_are_not_counted_before_the_last(database, ref, counted):
    handler = Handler(list, RetrySchedule(()), 30.0)
    for dead in (0, 0, 1):
        written(database, after_loss(claimed(database, ref), handler, datetime.now(UTC)))
        assert counted() == {"delivered": 0, "failed": 0, "dead": dead, "took": 0}


def test_an_attempt_that_no_longer_counts_is_not_counted(database, ref, counted):
    attempt(database, lambda due: change(database, claimed_at=datetime.now(UTC)) or Outcome("delivered"), 10.0)
    assert not any(counted().values())


def test_nothing_is_counted_of_a_delivery_that_has_ended(database, ref, counted):
    for _ in range(2):
        attempt(database, Outcome("delivered"))
    assert counted() == {"delivered": 1, "failed": 0, "dead": 0, "took": 1}
