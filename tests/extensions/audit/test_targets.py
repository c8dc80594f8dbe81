"""Targets of audits: files, databases and buckets, real ones."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import boto3
import pytest
from moto.server import ThreadedMotoServer

from extension_kit import Event, NotReady, SettingError
from extension_kit.events.event import set_attempt
from extension_kit.events.state import EventAttempt
from extension_kit.testing import EventFactory, InMemoryAgent
from extensions.audit import close, extension
from extensions.audit.targets import open_target
from tests.support.receivers import receiver, reply

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
