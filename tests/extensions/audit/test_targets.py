"""Targets of audits: files, databases and buckets, real ones."""

import json
import os
import resource
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import boto3
import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from extension_kit import Event, NotReady, SettingError
from extension_kit.events.event import set_attempt
from extension_kit.events.state import EventAttempt
from extension_kit.testing import EventFactory, InMemoryAgent
from extensions.audit import close, extension
from extensions.audit.objects import AuditBucketError
from extensions.audit.rows import TABLE
from extensions.audit.targets import open_target
from tests.support.receivers import receiver, reply
from tests.support.waiting import wait_until
from tests.support.workers import TIMEOUT

__all__ = ["receiver"]  # a fixture

FACTORY = EventFactory()


def made(attempt=1, **changes):
    """Return an event of an attempt."""
    return of_attempt(FACTORY.event("experiment.execution.failed", **changes), attempt)


def of_attempt(body, attempt=1):
    """Return the event of a body, of an attempt."""
    event = Event.from_body(body)
    set_attempt(event, EventAttempt(attempt, None))
    return event


def ids_in(file):
    """Return the ids in a file of JSON lines."""
    return [json.loads(line)["id"] for line in file.read_bytes().splitlines()]


@pytest.fixture
def opened():
    """Open targets, which are closed at the end."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(closing(open_target(url)))


@pytest.fixture
def agent_of(monkeypatch):
    """Make an agent of the extension with a target: ``agent_of("file:///...")``."""

    def make(target, **variables):
        for name, value in {"EXTENSION_AUDIT_TARGET": target, **variables}.items():
            monkeypatch.setenv(name, str(value))
        return InMemoryAgent(extension)

    yield make
    close()


class TestEveryTarget:
    def test_keeps_a_run(self, agent_of, target, kept_ids):
        agent = agent_of(target)
        sent = agent.play(agent.factory.run())
        assert [delivery.status for each in sent for delivery in each.deliveries] == ["delivered"] * len(sent)
        assert kept_ids() == [each.event["id"] for each in sent]

    def test_keeps_chosen_events_only(self, agent_of, target, kept_ids):
        agent = agent_of(target, EXTENSION_AUDIT_EVENTS="experiment.execution.failed,killswitch.*")
        agent.play(agent.factory.run(outcome="completed"))
        sent = [agent.send("experiment.execution.failed"), agent.send("killswitch.engaged")]
        assert kept_ids() == [each.event["id"] for each in sent]

    def test_keeps_an_event_once_however_often_it_is_attempted(self, opened, target, kept_ids):
        place = opened(target)
        body = FACTORY.event("experiment.execution.failed", id="one")
        for attempt in (1, 2, 3):
            place.keep(of_attempt(body, attempt))
            place.keep(made(attempt, id=f"other-{attempt}"))
        assert sorted(kept_ids()) == ["one", "other-1", "other-2", "other-3"]

    def test_is_written_by_many_at_the_same_time(self, opened, target, kept_ids):
        places = [opened(target) for _ in range(4)]
        events = [made(id=f"event-{number}") for number in range(80)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda numbered: places[numbered[0] % 4].keep(numbered[1]), enumerate(events)))
        assert sorted(kept_ids()) == sorted(event.id for event in events)

    def test_keeps_strange_events(self, opened, target, kept_ids):
        place = opened(target)
        ids = ["x" * 3000, "x" * 3000 + "y", "new\nline", "nul\0", "\u202eturned"]
        for event_id in ids:
            place.keep(made(id=event_id, name='"quoted\u2028"', tenant={"key": "t" * 1000}))
        assert len(kept_ids()) == len(ids)
        place.keep(of_attempt({"id": "bare", "eventName": "killswitch.engaged"}))
        assert "bare" in kept_ids()

    def test_has_no_problem(self, opened, target):
        assert opened(target).problem() is None


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path):
        return tmp_path / "audit"

    def test_have_a_line_for_each_event_of_a_day(self, opened, folder):
        place = opened(folder.as_uri())
        place.keep(made(id="late", event_time="2026-01-01T23:59:59Z"))
        place.keep(made(id="early", event_time="2026-01-02T01:00:00+02:00"))
        place.keep(made(id="next", event_time="2026-01-02T00:00:00Z"))
        place.keep(made(id="undated", event_time=None))
        found = {file.name: ids_in(file) for file in folder.iterdir()}
        assert found == {
            "2026-01-01.jsonl": ["late", "early"],
            "2026-01-02.jsonl": ["next"],
            "undated.jsonl": ["undated"],
        }

    def test_hold_the_event_as_it_was_sent(self, opened, folder):
        body = FACTORY.event("experiment.execution.failed")
        opened(folder.as_uri()).keep(of_attempt(body))
        (file,) = folder.iterdir()
        assert json.loads(file.read_text())["body"] == body

    @pytest.mark.parametrize("torn", [b'{"id": "torn', b'{"id": "torn"}', b"x" * 3_000_000])
    def test_lose_a_line_that_was_not_finished(self, opened, torn, folder):
        place = opened(folder.as_uri())
        place.keep(made(id="whole", event_time="2026-01-01T00:00:00Z"))
        file = folder / "2026-01-01.jsonl"
        with file.open("ab") as stream:
            stream.write(torn)
        place.keep(made(2, id="torn", event_time="2026-01-01T00:00:00Z"))
        assert ids_in(file) == ["whole", "torn"]

    def test_keep_one_line_of_an_event_that_a_killed_worker_does_not_know_to_have_kept(self, opened, folder):
        body = FACTORY.event("experiment.execution.failed")
        opened(folder.as_uri()).keep(of_attempt(body))
        opened(folder.as_uri()).keep(made(id="other", event_time=body["eventTime"]))
        opened(folder.as_uri()).keep(of_attempt(body))
        (file,) = folder.iterdir()
        assert ids_in(file) == [body["id"], "other"]

    def test_flush_the_line_of_an_attempt_that_was_killed_before_it_did(self, opened, folder, monkeypatch):
        place = opened(folder.as_uri())
        body = FACTORY.event("experiment.execution.failed")
        place.keep(of_attempt(body))
        flushed = []
        monkeypatch.setattr(os, "fsync", lambda number: flushed.append(os.path.realpath(f"/proc/self/fd/{number}")))
        place.keep(of_attempt(body, 2))
        (file,) = folder.iterdir()
        assert set(flushed) == {str(file), str(folder)}
        assert ids_in(file) == [body["id"]]

    def test_share_a_flush_among_events_of_one_moment(self, opened, folder, monkeypatch):
        place, flushes, hold = opened(folder.as_uri()), [], threading.Event()
        flush = os.fsync

        def flush_slowly(number):
            flushes.append(number)
            assert hold.wait(TIMEOUT)
            flush(number)

        monkeypatch.setattr(os, "fsync", flush_slowly)
        events = [made(id=f"{number}", event_time="2026-01-01T00:00:00Z") for number in range(9)]
        with ThreadPoolExecutor(9) as pool:
            kept = [pool.submit(place.keep, events[0])]
            wait_until(lambda: flushes)
            kept += [pool.submit(place.keep, event) for event in events[1:]]
            wait_until(lambda: len(place._next.lines) == 8)
            hold.set()
            for each in kept:
                each.result(TIMEOUT)
        assert len(flushes) == 3  # two of the file, and one of its folder
        assert sorted(ids_in(folder / "2026-01-01.jsonl")) == [event.id for event in events]

    def test_are_whole_again_after_a_write_that_came_to_the_limit(self, opened, folder):
        place, bodies = opened(folder.as_uri()), [FACTORY.event("experiment.execution.failed") for _ in range(2)]
        place.keep(of_attempt(bodies[0]))
        (file,) = folder.iterdir()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 10, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                place.keep(of_attempt(bodies[1]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        place.keep(of_attempt(bodies[1], 2))
        assert ids_in(file) == [body["id"] for body in bodies]

    def test_that_cannot_be_written_are_told_to_all_that_wait(self, opened, folder):
        folder.mkdir()
        (folder / "undated.jsonl").mkdir()
        place = opened(folder.as_uri())
        for number in range(2):
            with pytest.raises(IsADirectoryError):
                place.keep(made(id=f"{number}", event_time=None))
        place.keep(made(id="dated"))
        assert place.problem() is None

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_that_cannot_be_written_are_a_problem(self, opened, folder):
        folder.mkdir(mode=0o500)
        assert "cannot be written to" in opened(folder.as_uri()).problem()

    def test_in_place_of_which_there_is_a_file_are_a_problem(self, opened, folder):
        folder.write_text("")
        assert "cannot be made" in opened(folder.as_uri()).problem()


class TestObjects:
    @pytest.fixture
    def s3(self, monkeypatch):
        """A server of S3's protocol with the bucket ``audits``, named by the environment as boto3 reads it."""
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "anna",
            "AWS_SECRET_ACCESS_KEY": "s3cr3t",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.session.Session().client("s3")
        client.create_bucket(Bucket="audits")
        yield client
        client.close()
        server.stop()

    def test_are_written_once_at_a_key_of_their_time(self, opened, s3):
        place = opened("s3://audits/steadybit/")
        for attempt in (1, 2):
            place.keep(made(attempt, id="a/b c", event_time="2026-01-02T03:04:05.678Z"))
        place.keep(made(id="undated", event_time=None))
        found = s3.list_objects_v2(Bucket="audits")["Contents"]
        keys = ["steadybit/2026/01/02/030405.678000-a%2Fb%20c.json", "steadybit/undated/-undated.json"]
        assert [each["Key"] for each in found] == keys
        assert json.load(s3.get_object(Bucket="audits", Key=keys[0])["Body"])["id"] == "a/b c"
        assert place.problem() is None

    def test_of_a_missing_bucket_are_a_problem(self, opened, s3):
        assert opened("s3://missing").problem() == "S3 answers 404 (404)"

    def test_take_credentials_that_may_only_write(self, s3, receiver, monkeypatch, opened):
        may_write = receiver(answer=lambda request: reply(403 if request.method == "HEAD" else 200))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", may_write.url("", "127.0.0.1"))
        place = opened("s3://audits")
        assert place.problem() is None
        place.keep(made())
        assert [request.method for request in may_write.requests] == ["HEAD", "PUT"]

    def test_ask_for_the_bucket_only_where_writing_does_not_tell(self, s3, receiver, monkeypatch, opened):
        statuses = {"HEAD": 200, "PUT": 200}
        bucket = receiver(answer=lambda request: reply(statuses[request.method]))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.url("", "127.0.0.1"))
        place = opened("s3://audits")
        for _ in range(3):
            assert place.problem() is None
        statuses["PUT"] = 503
        with pytest.raises(AuditBucketError, match="503"):
            place.keep(made())
        statuses["HEAD"] = 503
        assert "503" in place.problem()
        statuses["PUT"] = 200
        place.keep(made())
        assert place.problem() is None
        assert [request.method for request in bucket.requests] == ["HEAD", "PUT", "HEAD", "PUT"]

    def test_wait_where_writing_is_refused(self, s3, receiver, monkeypatch, opened):
        refusing = receiver(answer=lambda request: reply(403))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", refusing.url("", "127.0.0.1"))
        with pytest.raises(NotReady, match="S3 answers 403"):
            opened("s3://audits").keep(made())

    def test_without_credentials_wait(self, opened, s3, monkeypatch, tmp_path):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(NotReady, match="no credentials"):
            opened("s3://audits").keep(made())


class TestSettings:
    def test_need_boto3_for_a_bucket(self, agent_of, monkeypatch):
        monkeypatch.setitem(sys.modules, "boto3", None)
        with pytest.raises(SettingError, match=r"pip install 'extension-kit\[audit\]'"):
            agent_of("s3://audits")

    def test_large_events_have_room_in_every_database(self):
        made_table = str(CreateTable(TABLE).compile(dialect=mysql.dialect()))
        assert "body LONGTEXT" in made_table

    def test_need_a_target(self, agent_of):
        with pytest.raises(SettingError, match="EXTENSION_AUDIT_TARGET is not set"):
            agent_of("")

    @pytest.mark.parametrize(
        "target",
        ["file://folder/x", "file:///", "s3:///prefix", "nothing", "oracle+nodriver://anna:s3cr3t@localhost/x"],
    )
    def test_refuse_a_wrong_target_without_telling_it(self, target, agent_of):
        with pytest.raises(SettingError, match="EXTENSION_AUDIT_TARGET cannot be used") as refusal:
            agent_of(target)
        assert "s3cr3t" not in str(refusal.value)

    def test_of_a_database_that_is_away_are_a_problem_without_the_password(self, opened):
        problem = opened("postgresql://anna:s3cr3t@127.0.0.1:1/audit").problem()
        assert "EXTENSION_AUDIT_TARGET" in problem
        assert "s3cr3t" not in problem
