"""The extension as users serve it, with a real NATS that is killed, frozen and empty, on both stores."""

import json
import signal
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.certificates import authority, ca_file
from tests.support.durable import (
    all_deliveries,
    database_url,
    postgresql_server,
    postgresql_url,
    prepared,
    tables,
)
from tests.support.nats import make_nats, nats_server
from tests.support.paths import KIT
from tests.support.ready_made import accepting, reasons, wait_for_reason
from tests.support.servers import ready, run_server
from tests.support.waiting import wait_until

__all__ = [  # fixtures
    "authority",
    "ca_file",
    "database_url",
    "make_nats",
    "nats_server",
    "postgresql_server",
    "postgresql_url",
    "tables",
]

ROOT = Path(__file__).parents[3]
HANDLERS = str(Path(__file__).with_name("listens.py"))
STREAM, CONSUMER = "ORDERS", "extension-kit"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def stream(nats_server):
    nats_server.add_stream(STREAM, "orders.>")
    return nats_server


@pytest.fixture
def ledger(tmp_path):
    (tmp_path / "ledger").touch()
    return tmp_path / "ledger"


@pytest.fixture
def environment(database_url, ledger, nats_server):
    return {
        **prepared(database_url, ledger),
        "EXTENSION_JETSTREAM_URL": nats_server.url,
        "EXTENSION_JETSTREAM_STREAM": STREAM,
        "EXTENSION_JETSTREAM_ACK_WAIT": 1,
    }


@pytest.fixture
def serving(environment, tmp_path):
    """Serve the extension beside functions, with other settings."""

    def serving(log="log", command="serve", **settings):
        given = {f"EXTENSION_JETSTREAM_{name.upper()}": value for name, value in settings.items()}
        return run_server(
            [KIT, command, "extensions/jetstream", HANDLERS], tmp_path / log, cwd=ROOT, **{**environment, **given}
        )

    return serving


def cloud_event(id, type="com.example.order", **more):
    attributes = {"specversion": "1.0", "id": str(id), "source": "/shop", "type": type, **more}
    return json.dumps(attributes).encode()


def seen(ledger):
    return [json.loads(line) for line in ledger.read_text().splitlines()]


def ids(ledger):
    return [each["id"].removeprefix("/shop ") for each in seen(ledger)]


def pending(server):
    """The messages that the consumer has not acknowledged yet: taken ones, and others."""
    info = server.consumer(STREAM, CONSUMER)
    return info.num_ack_pending, info.num_pending


def test_cloud_events_of_both_content_modes_are_handled_and_acknowledged(stream, serving, ledger):
    structured = cloud_event(1, subject="eu/7", time="2026-03-02T09:00:00Z", data={"total": 5}, region="eu")
    binary = {
        "ce-specversion": "1.0", "ce-id": "2", "ce-source": "/shop", "ce-type": "com.example.order",
        "ce-subject": "Euro%20%E2%82%AC", "Content-Type": "text/plain",
    }  # fmt: skip
    with serving() as server:
        ready(server)
        stream.publish(
            ("orders.eu", structured, {"Content-Type": "application/cloudevents+json; charset=utf-8"}),
            ("orders.us", b"hello", binary),
        )
        wait_until(lambda: len(seen(ledger)) == 2)
        wait_until(lambda: pending(stream) == (0, 0))
    first, second = sorted(seen(ledger), key=lambda each: each["id"])
    assert first == {
        "id": "/shop 1",
        "name": "jetstream.com.example.order",
        "subject": "eu/7",
        "series": "jetstream:orders.eu",
        "attributes": {
            "specversion": "1.0", "id": "1", "source": "/shop", "type": "com.example.order", "subject": "eu/7",
            "time": "2026-03-02T09:00:00Z", "region": "eu",
        },
        "payload": {"total": 5},
        "time": "2026-03-02T09:00:00+00:00",
    }  # fmt: skip
    assert (second["id"], second["subject"], second["payload"]) == ("/shop 2", "Euro €", "hello")


def test_an_event_that_comes_twice_is_handled_once(stream, serving, ledger):
    with serving() as server:
        ready(server)
        stream.publish(*[("orders.eu", cloud_event(id), None) for id in (1, 1, 2, 1)])
        wait_until(lambda: len(seen(ledger)) == 2 and pending(stream) == (0, 0))
    assert ids(ledger) == ["1", "2"]


@pytest.mark.parametrize("batch", [1, 100])
def test_what_is_no_cloud_event_blocks_nothing_and_goes_to_a_subject(stream, serving, ledger, batch):
    stream.add_stream("REJECTED", "rejected")
    stream.publish(
        ("orders.eu", cloud_event(1), None),
        ("orders.eu", b"\xff\x00 not json", {"X-Own": "kept"}),
        ("orders.eu", b"[]", None),
        ("orders.eu", cloud_event(""), None),
        ("orders.eu", cloud_event("a\x00b"), None),
        ("orders.eu", cloud_event(2), None),
    )
    with serving(rejected_subject="rejected", batch=batch) as server:
        ready(server)
        wait_until(lambda: ids(ledger) == ["1", "2"] and pending(stream) == (0, 0))
        log = server.log
    rejected = stream.stored("REJECTED")
    assert [each.data for each in rejected[:2]] == [b"\xff\x00 not json", b"[]"]
    assert rejected[0].headers["X-Own"] == "kept"
    assert [each.headers["Extension-Rejected"] for each in rejected] == [
        "it is not JSON, and has no header ce-specversion",
        "it is not a JSON object",
        "it has no id",
        "an attribute has control characters",
    ]
    assert log.count("cannot be taken: ") == 4
    assert "Message 2 of the stream ORDERS, with the subject orders.eu, cannot be taken: it is not JSON" in log


@pytest.mark.parametrize(
    ("subject", "headers"),
    [
        (b"orders.eu", b"\r\ntraceparent: x"),
        (b"orders.eu", b"\r\ntraceparent: 00-\x00-1-1"),
        (b"orders.eu", b"\r\ntraceparent: a-" + b"z" * 60_000),
        (b"orders.eu", b"\r\nStatus: shipped"),
        (b"orders.eu", b"\r\nStatus: 404"),
        (b"orders.\xff\xfe", b"\r\nA: b"),
        (b"orders.eu", b"\r\nno colon"),
    ],
    ids=["no traceparent", "NUL in it", "a long one", "own status", "status of NATS", "no UTF-8", "no header"],
)
@pytest.mark.parametrize("batch", [1, 100])
def test_odd_headers_and_subjects_keep_nothing_from_being_handled(
    stream, environment, serving, ledger, subject, headers, batch
):
    environment["STEADYBIT_LOG_FORMAT"] = "json"
    stream.publish(("orders.eu", cloud_event("before"), None))
    stream.publish_raw(subject, headers, cloud_event("odd"))
    stream.publish(("orders.eu", cloud_event("after"), None))
    with serving(batch=batch) as server:
        ready(server)
        wait_until(lambda: len(seen(ledger)) == 3 and pending(stream) == (0, 0))
        assert "Traceback" not in server.log
        assert max(map(len, server.log.splitlines())) < 5000
    assert sorted(ids(ledger)) == ["after", "before", "odd"]


@on_sqlite
def test_a_message_that_fits_nowhere_is_dropped(stream, serving, ledger):
    stream.add_stream("REJECTED", "rejected")
    stream.publish_raw(b"orders.eu", b"\r\nA: b", b"n" * (1024 * 1024 - 30))
    stream.publish(("orders.eu", cloud_event(1), None))
    with serving(rejected_subject="rejected") as server:
        ready(server)
        wait_until(lambda: ids(ledger) == ["1"] and pending(stream) == (0, 0))
        assert "It is too large for rejected" in server.log
    assert stream.stored("REJECTED") == []


@on_sqlite
def test_headers_for_nats_do_not_go_with_a_rejected_message(stream, serving, ledger):
    stream.add_stream("REJECTED", "rejected")
    stream.publish_raw(b"orders.eu", b"\r\nNats-Expected-Stream: ORDERS\r\nX(City: Z\r\nX-Own: kept", b"no")
    with serving(rejected_subject="rejected") as server:
        ready(server)
        wait_until(lambda: len(stream.stored("REJECTED")) == 1)
        wait_until(lambda: pending(stream) == (0, 0))
    (rejected,) = stream.stored("REJECTED")
    assert rejected.headers.keys() == {"X-Own", "Extension-Rejected"}


@on_sqlite
def test_a_rejected_message_waits_for_a_stream_that_takes_it(stream, serving, ledger):
    stream.publish(("orders.eu", b"no", None), ("orders.eu", cloud_event(1), None))
    with serving(rejected_subject="rejected") as server:
        accepting(server)
        wait_for_reason(server, "a message that is rejected cannot go to rejected: no stream takes the subject")
        stream.add_stream("REJECTED", "rejected")
        wait_until(lambda: ids(ledger) == ["1"] and pending(stream) == (0, 0))
        ready(server)
    assert [each.data for each in stream.stored("REJECTED")] == [b"no"]


@on_sqlite
def test_a_rejected_message_that_comes_back_is_dropped(stream, serving, ledger):
    stream.publish(("orders.eu", b"no", None), ("orders.eu", cloud_event(1), None))
    with serving(rejected_subject="orders.rejected") as server:
        ready(server)
        wait_until(lambda: "It is dropped" in server.log)
        wait_until(lambda: ids(ledger) == ["1"] and pending(stream) == (0, 0))
    assert len(stream.stored(STREAM)) == 3


def test_nothing_is_lost_and_the_order_is_kept_when_processes_and_nats_are_killed(
    stream, serving, ledger, database_url
):
    keys, each = 10, 100
    wanted = defaultdict(list)
    for number in range(each):
        for key in range(keys):
            wanted[key].append(f"{key}-{number}")
    stream.publish(
        *[(f"orders.{id[0]}", cloud_event(id), None) for step in zip(*wanted.values(), strict=True) for id in step]
    )
    for number in range(3):
        with serving(log=f"log-{number}") as server:
            ready(server)
            begin = len(set(ids(ledger)))
            wait_until(lambda begin=begin: len(set(ids(ledger))) >= begin + 150)
            server.kill_all()
        acknowledged = stream.consumer(STREAM, CONSUMER).ack_floor.stream_seq
        assert 0 < acknowledged <= len(all_deliveries(database_url))
    with serving(log="log-last") as server:
        ready(server)
        begin = len(set(ids(ledger)))
        wait_until(lambda: len(set(ids(ledger))) >= begin + 50)
        stream.stop(signal.SIGKILL)
        wait_for_reason(server, "extension-jetstream: nats://127.0.0.1:")
        stream.start()
        wait_until(lambda: len(set(ids(ledger))) == keys * each, 100)
        wait_until(lambda: pending(stream) == (0, 0))
    handled = defaultdict(list)
    for id in dict.fromkeys(ids(ledger)):  # a function that was killed runs again
        handled[int(id[0])].append(id)
    assert handled == wanted


@on_postgresql
def test_the_order_is_kept_by_several_workers(stream, serving, ledger):
    wanted = [str(number) for number in range(200)]
    with serving(log="one", command="worker") as one, serving(log="two", command="worker") as two:
        for worker in (one, two):
            wait_until(lambda worker=worker: "Messages of the stream ORDERS are taken" in worker.log)
        stream.publish(*[("orders.eu", cloud_event(number), None) for number in wanted])
        wait_until(lambda: ids(ledger) == wanted, 60)
    assert pending(stream) == (0, 0)


@on_sqlite
def test_nothing_is_acknowledged_while_the_database_is_locked(stream, serving, ledger, database_url):
    with serving(ack_wait=5) as server:
        ready(server)
        stream.publish(("orders.eu", cloud_event(1), None))
        wait_until(lambda: ids(ledger) == ["1"])
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            stream.publish(*[("orders.eu", cloud_event(id), None) for id in (2, 3)])
            wait_until(lambda: "Messages of the stream ORDERS wait: " in server.log)
            assert pending(stream) == (1, 1)
            other.execute("ROLLBACK")
        wait_until(lambda: ids(ledger) == ["1", "2", "3"])
        wait_until(lambda: pending(stream) == (0, 0))


@on_sqlite
def test_a_frozen_nats_disturbs_nothing_else(stream, serving, ledger, event):
    with serving() as server:
        ready(server)
        with stream.frozen():
            wait_for_reason(server, "extension-jetstream: nats://127.0.0.1:")
            assert server.post("/events/note-of-steadybit", event("killswitch.engaged", id="mine")).status == 200
            wait_until(lambda: ids(ledger) == ["mine"])
            assert server.health("readiness/accepting") == 200
        stream.publish(("orders.eu", cloud_event(1), None))
        wait_until(lambda: ids(ledger) == ["mine", "1"], 60)
        wait_until(lambda: reasons(server) == "")


@on_sqlite
def test_a_stream_that_does_not_exist_is_waited_for(nats_server, serving, ledger):
    with serving() as server:
        accepting(server)
        wait_for_reason(server, "extension-jetstream: NATS: the stream ORDERS does not exist: make it")
        nats_server.add_stream(STREAM, "orders.>")
        nats_server.publish(("orders.eu", cloud_event(1), None))
        wait_until(lambda: ids(ledger) == ["1"], 60)
        wait_until(lambda: server.health("readiness") == 200)


@on_sqlite
def test_a_stop_leaves_no_message_half_taken(stream, serving, ledger):
    stream.publish(*[("orders.eu", cloud_event(number), None) for number in range(500)])
    with serving(ack_wait=60, batch=10) as server:
        ready(server)
        wait_until(lambda: len(ids(ledger)) >= 20)
        assert server.stop() == 143
        taken, left = pending(stream)
        assert taken == 0
        assert left > 0


@on_sqlite
def test_a_consumer_that_exists_gets_what_the_settings_decide_and_keeps_the_rest(stream, serving, ledger):
    made = {"durable_name": "mine", "filter_subject": "orders.eu", "description": "kept", "max_ack_pending": 500}
    stream.ask(lambda jetstream: jetstream.add_consumer(STREAM, **made))
    stream.publish(("orders.us", cloud_event(1), None), ("orders.eu", cloud_event(2), None))
    with serving(consumer="mine") as server:
        ready(server)
        wait_until(lambda: ids(ledger) == ["2"])
    config = stream.consumer(STREAM, "mine").config
    assert (config.description, config.filter_subject) == ("kept", "orders.eu")
    assert (config.max_ack_pending, config.ack_wait) == (1, 1.0)


@on_sqlite
def test_a_consumer_of_another_kind_is_refused(stream, serving):
    stream.ask(lambda jetstream: jetstream.add_consumer(STREAM, durable_name="push", deliver_subject="there"))
    with serving(consumer="push") as server:
        accepting(server)
        wait_for_reason(server, "the consumer push of the stream ORDERS is no pull consumer")


@on_sqlite
def test_a_login_that_is_refused_is_told_and_shown_nowhere(make_nats, serving):
    server = make_nats('authorization {user: "kit", password: "right"}', "kit", "right")
    server.add_stream(STREAM, "orders.>")
    with serving(url=server.url, username="kit", password="s3cret-word") as served:
        accepting(served)
        wait_for_reason(served, "cannot be used: Authorization Violation")
        assert "s3cret" not in served.log + reasons(served)
    with serving(log="right", url=server.url, username="kit", password="right") as served:
        ready(served)


@on_sqlite
def test_tls_with_a_certificate_of_its_own(make_nats, serving, authority, ca_file, tmp_path, ledger):
    for name in ("localhost", "client"):
        certificate = authority.issue_cert(name)
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}-key.pem")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    files = f'cert_file: "{tmp_path}/localhost.pem", key_file: "{tmp_path}/localhost-key.pem", ca_file: "{ca_file}"'
    server = make_nats(f"tls {{{files}, verify: true}}")
    url = f"tls://localhost:{server.port}"
    own = {"certificate": tmp_path / "client.pem", "certificate_key": tmp_path / "client-key.pem"}
    with serving(url=url, ca_file=ca_file, **own) as served:
        accepting(served)
        wait_for_reason(served, "the stream ORDERS does not exist")
    with serving(log="other", url=url, **own) as served:
        accepting(served)
        wait_for_reason(served, "certificate verify failed")


@on_sqlite
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"STREAM": ""}, "EXTENSION_JETSTREAM_STREAM is not set"),
        ({"URL": "nats://kit:s3cret@localhost"}, "EXTENSION_JETSTREAM_URL is"),
        ({"SUBJECT": "orders."}, "EXTENSION_JETSTREAM_SUBJECT is"),
        ({"BATCH": "101"}, "a whole number from 1 to 100 is allowed"),
        ({"PASSWORD": "s3cret"}, "set both"),
        ({"TOKEN": "s3cret", "USERNAME": "kit", "PASSWORD": "s3cret"}, "exclude each other"),
        ({"CREDENTIALS": "s3cret"}, "the text of a credentials file"),
        ({"CA_FILE": HANDLERS}, "write tls://"),
        ({"CA_FILE": HANDLERS, "URL": "tls://localhost"}, "is no PEM file"),
        ({"REJECTED_SUBJECT": "a", "SUBJECT": "a"}, "name another one"),
    ],
)
def test_wrong_settings_end_the_start_in_one_line(environment, tmp_path, settings, message):
    environment |= {f"EXTENSION_JETSTREAM_{name}": value for name, value in settings.items()}
    with run_server([KIT, "serve", "extensions/jetstream"], tmp_path / "log", cwd=ROOT, **environment) as server:
        assert server.process.wait(20) == 2
        (line,) = [each for each in server.log.splitlines() if " INF " not in each]
    assert message in line
    assert "s3cret" not in line
