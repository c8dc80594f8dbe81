"""The query that KEDA asks PostgreSQL counts what the metric counts, up to the deliveries for the most workers."""

import re
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from extension_kit.deliveries.due import count_due
from extension_kit.deliveries.pauses import pause
from extension_kit.deliveries.tables import BEHIND, CLAIMED, LATER
from tests.helm.chart import find, manifests
from tests.helm.snapshots import values
from tests.support.databases import opened
from tests.support.queues import Deliveries, in_
from tests.support.stores import postgresql, postgresql_url

__all__ = ["postgresql", "postgresql_url"]  # fixtures


def trigger(per_worker=100, most=8):
    """The metadata of the trigger, where one worker is for so many deliveries."""
    keda = {"enabled": True, "deliveriesPerWorker": per_worker, "maxReplicas": most}
    documents = manifests(values("worker") | {"worker": {"enabled": True, "keda": keda}})
    (found,) = find(documents, "ScaledObject", "-worker")["spec"]["triggers"]
    assert found["metadata"]["targetQueryValue"] == str(per_worker)
    return found["metadata"]


@pytest.fixture
def database(postgresql_url):
    with opened(postgresql_url) as database:
        yield database


@pytest.fixture
def ask(database):
    """The rows that a query gets, as the driver has them."""

    def ask(query):
        with database.read() as connection:
            return connection.connection.driver_connection.execute(query).fetchall()

    return ask


def test_it_is_the_sum_of_the_metric(database, ask):
    assert ask(trigger()["query"]) == [(0,)]
    waiting = Deliveries(database)
    for listener in ("a", "b", "paused", "subscription:1", "subscription:2"):
        waiting.add(*(f"{listener}-{number}" for number in range(5)), listener=listener, due_at=in_(-10))
        waiting.add(f"{listener}-later", listener=listener, stage=LATER, due_at=in_(1000))
        waiting.add(f"{listener}-now", listener=listener, stage=LATER, due_at=in_(-10))
        waiting.add(f"{listener}-behind", listener=listener, stage=BEHIND, due_at=in_(-10))
        waiting.add(f"{listener}-attempted", listener=listener, stage=CLAIMED, due_at=in_(-10))
    with database.transaction() as connection:
        pause(connection, "paused", "ada")
        pause(connection, "subscription:1", "ada")
    with database.read() as connection:
        metric = sum(due.number for due in count_due(connection, (), datetime.now(UTC)))
    assert metric == 3 * 7
    assert ask(trigger()["query"]) == [(metric,)]


def test_it_counts_ready_deliveries_no_further_than_the_most_workers_need(database, ask):
    waiting = Deliveries(database)
    waiting.add(*map(str, range(50)), due_at=in_(-10))
    waiting.add(*map(str, range(50, 60)), listener="another", due_at=in_(-10))
    assert ask(trigger(per_worker=2, most=10)["query"]) == [(20,)]
    assert ask(trigger(per_worker=10, most=10)["query"]) == [(60,)]


def test_it_reads_no_more_than_it_counts(database, ask):
    waiting = Deliveries(database)
    for number, (listener, columns) in enumerate(
        [("paused", {}), ("later", {"stage": LATER, "due_at": in_(1000)}), ("ready", {})]
    ):
        waiting.add(*(f"{number}-{each}" for each in range(2000)), listener=listener, **columns)
    with database.transaction() as connection:
        pause(connection, "paused", "ada")
        connection.execute(text("ANALYZE"))
    query = trigger(per_worker=5, most=10)["query"]
    assert ask(query) == [(50,)]
    plan = "\n".join(row[0] for row in ask(f"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) {query}"))
    assert "Seq Scan on deliveries" not in plan, plan
    assert max(map(int, re.findall(r"on deliveries.*\(actual rows=(\d+)", plan))) <= 50, plan
