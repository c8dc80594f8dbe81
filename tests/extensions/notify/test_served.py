"""The extension as users serve it, on both stores, with channels that refuse, hang and come back."""

import json
import threading

import pytest

from tests.support.durable import database_url, postgresql_server, postgresql_url, prepared, statuses
from tests.support.ready_made import accepting, reasons, runs, send, serving, wait_for_reason, wait_until_delivered
from tests.support.receivers import receiver, reply, silence
from tests.support.waiting import wait_until

__all__ = ["database_url", "postgresql_server", "postgresql_url", "receiver"]  # fixtures

PATH = "/events/notify"
SECRET = "s3cr3t-t0k3n"


@pytest.fixture
def tables():
    """Those of the kit alone."""
    return ()


@pytest.fixture
def serve(database_url, tmp_path):
    """Serve the extension with channels: ``with serve("oncall=json://...") as server``."""
    environment = prepared(database_url, tmp_path / "ledger")
    return lambda *urls: serving(
        "notify", tmp_path / "server.log", **{**environment, "EXTENSION_NOTIFY_URLS": " ".join(urls)}
    )


def url_of(server, name):
    return f"{name}=json://127.0.0.1:{server.port}/{SECRET}"


def failed(number):
    """The events of some runs that failed."""
    return [run for run in runs(4 * number) if run[-1]["eventName"] == "experiment.execution.failed"]


def titles(server):
    return [json.loads(request.body)["title"] for request in server.requests]


def test_each_failed_run_is_one_message(serve, receiver, database_url):
    channel = receiver()
    ended = failed(3)
    with serve(url_of(channel, "oncall")) as server:
        accepting(server)
        for run in ended:
            send(server, PATH, [run[-1], run[-1]])  # as an agent that got no answer does
        wait_until_delivered(database_url, len(ended))
    assert sorted(titles(channel)) == sorted(f"{run[-1]['experimentExecution']['name']}: failed" for run in ended)


def test_a_channel_that_hangs_holds_up_no_other(serve, receiver, database_url):
    hanging, working = receiver(answer=lambda request: silence), receiver()
    ended = failed(5)
    with serve(url_of(hanging, "hangs"), url_of(working, "works")) as server:
        accepting(server)
        send(server, PATH, [run[-1] for run in ended])
        wait_until(lambda: len(working.requests) == len(ended))
        wait_until(lambda: statuses(database_url).get("delivered") == len(ended))
    assert hanging.requests


def test_messages_wait_for_a_token_that_is_refused(serve, receiver, database_url):
    is_accepted = threading.Event()
    channel = receiver(answer=lambda request: reply() if is_accepted.is_set() else reply(401, SECRET.encode()))
    ended = failed(5)
    with serve(url_of(channel, "oncall")) as server:
        accepting(server)
        send(server, PATH, [run[-1] for run in ended])
        wait_for_reason(server, "extension-notify: oncall: ")
        assert server.health("readiness/accepting") == 200
        assert statuses(database_url) == {"waiting": len(ended)}
        is_accepted.set()
        wait_until_delivered(database_url, len(ended))
        wait_until(lambda: reasons(server) == "")
        assert SECRET not in server.log


def test_no_message_is_lost_when_everything_is_killed(serve, receiver, database_url):
    channel = receiver()
    ended = failed(6)
    for run in ended:
        with serve(url_of(channel, "oncall")) as server:
            accepting(server)
            send(server, PATH, [run[-1]])
            server.kill_all()
    with serve(url_of(channel, "oncall")):
        wait_until_delivered(database_url, len(ended))
    assert set(titles(channel)) == {f"{run[-1]['experimentExecution']['name']}: failed" for run in ended}
