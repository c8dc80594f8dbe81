"""PostgreSQL tells workers of new deliveries, and of events to file."""

import threading
from functools import partial

import pytest

from extension_kit.deliveries.inbox import Accepted, Inbox
from extension_kit.deliveries.notify import CHANNEL, INBOX_CHANNEL
from extension_kit.engine import notifications as module
from extension_kit.engine.notifications import Notifications
from tests.support.databases import opened
from tests.support.queues import Deliveries
from tests.support.used import connect
from tests.support.waiting import wait_until

LISTENING = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN extension_kit%' AND datname = current_database()"


@pytest.fixture
def server(used_postgresql_url):
    with connect(used_postgresql_url) as connection:
        yield connection


@pytest.fixture
def told(used_postgresql_url, monkeypatch):
    """The channels of the notifications, from the first time on."""
    monkeypatch.setattr(module, "_STEP", 0.05)
    monkeypatch.setattr(module, "_PAUSE", 0.05)
    calls = []
    with opened(used_postgresql_url, upgraded=False) as database:
        heard = Notifications(database, {name: partial(calls.append, name) for name in (CHANNEL, INBOX_CHANNEL)})
        heard.start()
        wait_until(lambda: calls == [CHANNEL, INBOX_CHANNEL])
        yield calls
        heard.stop()
        wait_until(lambda: not any(each.name == "delivery-notifications" for each in threading.enumerate()))


def test_who_records_deliveries_wakes_workers(told, used_postgresql_url):
    before = len(told)
    with opened(used_postgresql_url, upgraded=False) as database:
        Deliveries(database).add("1", "2")
    wait_until(lambda: set(told[before:]) == {CHANNEL})


def test_an_accepted_event_wakes_the_worker_that_files_it(told, used_postgresql_url):
    before = len(told)
    with opened(used_postgresql_url, upgraded=False) as database:
        Inbox(database).append([Accepted(b"{}", ())])
    wait_until(lambda: set(told[before:]) == {INBOX_CHANNEL})


def test_a_lost_connection_is_made_anew_and_tells_because_something_may_have_been_missed(told, server):
    before = len(told)
    for (pid,) in server.execute(LISTENING).fetchall():
        server.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    wait_until(lambda: set(told[before:]) == {CHANNEL, INBOX_CHANNEL})
    for channel in (CHANNEL, INBOX_CHANNEL):
        before = len(told)
        server.execute(f"NOTIFY {channel}")
        wait_until(lambda before=before, channel=channel: set(told[before:]) == {channel})
