"""Upkeep: lost executions, the age of the log, and the subscriptions of deleted contracts."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, func, insert, select, update

from extension_kit.deliveries import tables as kit
from extension_kit.deliveries.tables import deliveries, subscriptions
from extensions.eventhos.runs import run_event_id
from extensions.eventhos.settings import EventhosSettings
from extensions.eventhos.tables import contracts, executions, received
from extensions.eventhos.upkeep import LostExecutions, remove_old, remove_subscriptions
from tests.extensions.eventhos.api import CRYPTO_KEY
from tests.extensions.eventhos.making import ended
from tests.support.receivers import reply

SETTINGS = EventhosSettings(crypto_key=(CRYPTO_KEY,))
LATER = timedelta(minutes=10)


def count(api, table):
    with api.database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def end_deliveries(world, **values):
    """End the waiting deliveries without attempts; without values they are removed."""
    with world.api.database.transaction() as connection:
        ended = {"stage": None, "ended_at": datetime.now(UTC), **values}
        connection.execute(update(deliveries).values(ended) if values else delete(deliveries))


def change(world, wanted, **values):
    """Change columns of executions."""
    with world.api.database.transaction() as connection:
        connection.execute(update(executions).where(wanted).values(values))


def pending(world):
    """Return the numbers of the executions that have not ended."""
    with world.api.database.read() as connection:
        return set(connection.execute(select(executions.c.id).where(executions.c.state.is_(None))).scalars())


def add_executions(world, contract, number, status):
    """Add executions of a contract that have not ended, with deliveries of a status; return their numbers."""
    now = datetime.now(UTC)
    with world.api.database.transaction() as connection:

        def add(table, key, row, keys=None):
            """Add as many rows, with the keys of others, and return theirs."""
            made = [{**row, **each} for each in keys or [{}] * number]
            return sorted(connection.execute(insert(table).returning(key), made).scalars())

        subscription = connection.execute(select(contracts.c.subscription).where(contracts.c.id == contract))
        events_of_log = add(received, received.c.id, {"event": world.event, "request": b"", "received_at": now})
        row = {"contract": contract, "order": 0, "started_at": now}
        added = add(executions, executions.c.id, row, [{"received": each} for each in events_of_log])
        connection.execute(update(executions).where(executions.c.run.is_(None)).values(run=executions.c.id))
        row = {"source": "eventhos", "name": "eventhos.run", "received_at": now, "body": b"{}"}
        runs = add(kit.events, kit.events.c.ref, row, [{"event_id": run_event_id(each)} for each in added])
        listener = f"subscription:{subscription.scalar_one()}"
        row = {"listener": listener, "status": status, "created_at": now, "due_at": now}
        add(deliveries, deliveries.c.ref, row, [{"event_ref": each} for each in runs])
    return added


class TestLostExecutions:
    @pytest.mark.parametrize(
        ("ending", "error"),
        [
            ({"status": "dead", "error": "the process died"}, "the process died"),
            ({"status": "discarded"}, "its delivery was ended"),
            ({}, "its delivery was removed"),
        ],
        ids=["dead", "discarded", "removed"],
    )
    def test_the_next_group_begins_when_a_delivery_has_ended_without_a_result(
        self, world, receiver, working, ending, error
    ):
        there = receiver(answer=lambda request: reply())
        world.add_contract(there.url("/lost", "127.0.0.1"), order=0)
        world.add_contract(there.url("/next", "127.0.0.1"), order=1)
        world.send({})
        end_deliveries(world, **ending)
        now, lost_executions = datetime.now(UTC), LostExecutions()
        assert lost_executions(world.api.kit, SETTINGS, now) == 0  # too young
        with working(world.api):
            assert lost_executions(world.api.kit, SETTINGS, now + LATER) == 1
            (row,) = ended(world, 1)
        assert row["state"] == ["error", "processed"]
        assert [request.path for request in there.requests] == ["/next"]
        lost, _ = world.executions(row["id"])
        assert world.execution(lost["detailId"])["response"]["statusText"] == error

    def test_deliveries_that_wait_are_left_alone(self, world):
        world.add_contract("http://127.0.0.1:1/")
        world.send({})
        assert LostExecutions()(world.api.kit, SETTINGS, datetime.now(UTC) + LATER) == 0

    def test_none_is_missed_among_many_and_a_call_has_an_end(self, world):
        """The first is older than a thousand whose deliveries are dead, too; the last is behind 50 that wait."""
        contract = world.add_contract("http://127.0.0.1:1/")
        (first,) = add_executions(world, contract, 1, "dead")
        failed = add_executions(world, contract, 1001, "dead")
        change(world, executions.c.id.in_(failed), state="error")
        waiting = add_executions(world, contract, 50, "waiting")
        (last,) = add_executions(world, contract, 1, "dead")
        lost_executions, later = LostExecutions(batch=10, batches=5), datetime.now(UTC) + LATER

        def lost():
            """Call the task, and return the executions that it has ended."""
            before = pending(world)
            number = lost_executions(world.api.kit, SETTINGS, later)
            ended_now = before - pending(world)
            assert number == len(ended_now)
            return ended_now

        assert lost() == {first}
        assert lost() == {last}
        change(world, executions.c.id == waiting[7], run=last)  # whose delivery is dead
        assert lost() == {waiting[7]}  # it has begun again


def test_old_events_leave_the_log(world, working):
    world.add_contract("http://127.0.0.1:1/")
    with working(world.api):
        for _ in range(2):
            world.send({})
        first, second = ended(world, 2)
    days = world.api.kit.settings.retention_days
    with world.api.database.transaction() as connection:
        old = datetime.now(UTC) - timedelta(days=days, seconds=1)
        connection.execute(update(received).where(received.c.id == first["id"]).values(received_at=old))
    assert remove_old(world.api.kit, SETTINGS) == 1
    assert [row["id"] for row in world.log()] == [second["id"]]
    assert count(world.api, executions) == 1


def test_an_old_event_whose_contract_has_not_ended_stays(world):
    world.add_contract("http://127.0.0.1:1/")
    world.send({})
    later = datetime.now(UTC) + timedelta(days=world.api.kit.settings.retention_days, seconds=1)
    assert remove_old(world.api.kit, SETTINGS, later) == 0
    assert count(world.api, executions) == 1


def test_the_subscription_of_a_deleted_contract_is_removed_after_its_last_execution(world, working):
    world.add_contract("http://127.0.0.1:1/")
    world.send({})
    with world.api.database.transaction() as connection:
        connection.execute(update(contracts).values(deleted=True))
    assert remove_subscriptions(world.api.kit, SETTINGS) == 0
    with working(world.api):
        ended(world, 1)
    assert remove_subscriptions(world.api.kit, SETTINGS) == 1
    assert remove_subscriptions(world.api.kit, SETTINGS) == 0
    assert count(world.api, subscriptions) == 0
