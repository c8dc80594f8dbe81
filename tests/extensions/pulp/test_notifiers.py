"""Notifiers: real deliveries by HTTP, e-mail and AMQP, and those that fail (Pulp 2, notifier docs)."""

import json
import ssl
from base64 import b64encode
from email import message_from_bytes
from email.policy import default

import kombu
import pytest
from flask import Blueprint

from extension_kit import Extension
from extension_kit.protocol import EventProtocol, PublishedEvent, Routes
from extensions.pulp.answers import answer_error
from extensions.pulp.settings import PulpSettings
from tests.extensions.pulp.api import HTTP
from tests.extensions.pulp.notifying import DOCUMENT, finish, listen, mail, only, start
from tests.support.broker import URL, rabbitmq
from tests.support.certificates import authority, tls_for
from tests.support.mailbox import mailbox, smtp
from tests.support.receivers import receiver, reply, silence

__all__ = ["authority", "mail", "mailbox", "receiver", "smtp", "start", "tls_for"]  # fixtures


class TestHttp:
    def test_the_document_is_posted(self, start, receiver):
        api, worker = start()
        there = receiver()
        listen(api, url=there.url("/katello/api/v2/sync_complete?token=a%20b&x=1", "127.0.0.1"))
        finish(api)
        assert only(worker.attempt()).status == "delivered"
        request = only(there.requests)
        assert (request.method, request.path) == ("POST", "/katello/api/v2/sync_complete?token=a%20b&x=1")
        assert request.headers["content-type"] == "application/json"
        assert "authorization" not in request.headers
        assert json.loads(request.body) == DOCUMENT
        assert [*json.loads(request.body)] == ["event_type", "payload", "call_report"]
        ((_, row),) = api.deliveries()
        assert request.body == row.body

    @pytest.mark.parametrize(
        ("config", "sent"),
        [
            ({"username": "anna", "password": "pä:ss"}, "anna:pä:ss"),
            ({"username": "anna", "password": ""}, "anna:"),
            ({"username": "", "password": "token"}, ":token"),
            ({"username": "", "password": ""}, ":"),
            ({"username": "a:b", "password": "c"}, "a:b:c"),
            ({"username": 1, "password": 2}, "1:2"),
            ({"username": "anna"}, None),
            ({"password": "s3cret"}, None),
            ({"username": None, "password": "s3cret"}, None),
        ],
    )
    def test_credentials_need_both_keys(self, start, receiver, config, sent):
        api, worker = start()
        there = receiver()
        listen(api, url=there.url("/", "127.0.0.1"), **config)
        finish(api)
        assert only(worker.attempt()).status == "delivered"
        expected = None if sent is None else "Basic " + b64encode(sent.encode()).decode()
        assert only(there.requests).headers.get("authorization") == expected

    @pytest.mark.parametrize("status", [201, 202, 204, 302, 400, 404, 410, 500])
    def test_only_200_is_a_success(self, start, receiver, status):
        api, worker = start()
        there = receiver(answer=lambda request: reply(status, Location="/elsewhere"))
        listen(api, url=there.url("/", "127.0.0.1"))
        finish(api)
        row = only(worker.attempt())
        assert (row.status, row.attempts) == ("waiting", 1)
        assert row.error.startswith(f"answered {status}")
        there.answer = lambda request: reply(200)
        assert only(worker.attempt()).status == "delivered"
        first, second = there.requests
        assert first.body == second.body

    @pytest.mark.parametrize("config", [{}, {"url": ""}, {"url": None}, {"url": 5}, {"url": ["http://a.test/"]}])
    def test_without_a_url_nothing_is_retried(self, start, config, caplog):
        api, worker = start()
        listen(api, **config)
        finish(api)
        row = only(worker.attempt())
        assert (row.status, row.attempts) == ("dead", 1)
        assert row.error == "HTTP notifier configured without a URL; cannot fire event"
        assert [each.levelname for each in caplog.records if row.error in each.getMessage()] == ["ERROR"]

    @pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/", "http://", "http://user:s3cret@127.0.0.1/"])
    def test_a_url_that_leads_nowhere_is_refused_in_words(self, start, url):
        api, worker = start()
        listen(api, url=url)
        finish(api)
        row = only(worker.attempt())
        assert (row.status, row.attempts) == ("dead", 1)
        assert row.error.startswith("not sent: ")
        assert "s3cret" not in row.error

    def test_a_receiver_has_the_seconds_of_the_settings(self, start, receiver):
        api, worker = start(EXTENSION_PULP_TIMEOUT="0.2", EXTENSION_DELIVERY_TIMEOUT="300")
        listen(api, url=receiver(answer=lambda request: silence).url("/", "127.0.0.1"))
        finish(api)
        row = only(worker.attempt())
        assert (row.status, row.attempts) == ("waiting", 1)
        assert "timed out" in row.error

    def test_the_usual_timeout_is_that_of_pulp(self):
        assert PulpSettings().timeout == 15


class TestAuthorities:
    @pytest.fixture
    def folder(self, tmp_path, authority):
        folder = tmp_path / "cas"
        (folder / "below").mkdir(parents=True)
        for path in (folder / "ca.pem", folder / "below" / "ca.pem", tmp_path / "outside.pem"):
            path.write_bytes(authority.cert_pem.bytes())
        (folder / "link.pem").symlink_to(tmp_path / "outside.pem")
        return folder

    @pytest.fixture
    def secure(self, receiver, tls_for):
        return receiver(tls=tls_for("127.0.0.1"))

    @pytest.mark.parametrize("name", ["ca.pem", "below/ca.pem", "{folder}/ca.pem", "below/../ca.pem"])
    def test_a_file_of_the_folder_is_trusted(self, start, secure, folder, name):
        api, worker = start(EXTENSION_DELIVERY_CA_FOLDER=str(folder))
        listen(api, url=secure.url("/", "127.0.0.1"), ca_path=name.format(folder=folder))
        finish(api)
        assert only(worker.attempt()).status == "delivered"
        assert json.loads(only(secure.requests).body) == DOCUMENT

    @pytest.mark.parametrize(
        "name", ["../outside.pem", "{folder}/../outside.pem", "link.pem", "none.pem", "below", "", "a" * 5000, "a\0b"]
    )
    def test_others_are_refused_in_words(self, start, secure, folder, name):
        api, worker = start(EXTENSION_DELIVERY_CA_FOLDER=str(folder))
        listen(api, url=secure.url("/", "127.0.0.1"), ca_path=name.format(folder=folder))
        finish(api)
        row = only(worker.attempt())
        assert (row.status, row.attempts, secure.requests) == ("dead", 1, [])
        assert "is not a file in the folder of EXTENSION_DELIVERY_CA_FOLDER" in row.error

    def test_without_a_folder_none_can_be_named(self, start, secure, folder):
        api, worker = start()
        listen(api, url=secure.url("/", "127.0.0.1"), ca_path=str(folder / "ca.pem"))
        finish(api)
        row = only(worker.attempt())
        assert row.status == "dead"
        assert "EXTENSION_DELIVERY_CA_FOLDER" in row.error

    def test_without_a_file_the_authorities_of_the_system_are_trusted(self, start, secure, folder):
        api, worker = start(EXTENSION_DELIVERY_CA_FOLDER=str(folder))
        listen(api, url=secure.url("/", "127.0.0.1"))
        finish(api)
        row = only(worker.attempt())
        assert (row.status, secure.requests) == ("waiting", [])
        assert "certificate" in row.error
        assert isinstance(secure.server.ended.get(timeout=20), ssl.SSLError)


class TestEmail:
    def test_each_address_gets_a_message_of_its_own(self, start, mail, mailbox):
        api, worker = start(**mail)
        listen(api, "email", subject="Pulp: Zürich", addresses=["a@example.com", "b@example.com"])
        finish(api)
        assert [row.status for row in worker.attempt()] == ["delivered"] * 2
        for address in ("a@example.com", "b@example.com"):
            mail = mailbox.mail()
            assert (mail["From"], mail["To"]) == ("Pulp <pulp@example.com>", address)
            assert mail["Subject"] == "Pulp: Zürich"
            assert mail.get_content_type() == "text/plain"
            assert mail.get_content().splitlines() == json.dumps(DOCUMENT, indent=2).splitlines()

    @pytest.mark.parametrize(
        ("subject", "expected"),
        [("", ""), ("s" * 300, "s" * 200), ("Zoo\r\nBcc: x@example.com", "Zoo Bcc: x@example.com")],
        ids=["empty", "long-is-cut", "lines-become-one"],
    )
    def test_a_subject_may_be_any_text(self, start, mail, mailbox, subject, expected):
        api, worker = start(**mail)
        listen(api, "email", subject=subject, addresses=["a@example.com"])
        finish(api)
        assert only(worker.attempt()).status == "delivered"
        envelope = mailbox.envelopes.get(timeout=20)
        assert envelope.rcpt_tos == ["a@example.com"]
        assert message_from_bytes(envelope.content, policy=default)["Subject"] == expected

    def test_a_single_address_may_be_a_text(self, start, mail, mailbox):
        api, worker = start(**mail)
        listen(api, "email", subject="s", addresses="a@example.com")
        finish(api)
        assert only(worker.attempt()).status == "delivered"
        assert mailbox.mail()["To"] == "a@example.com"

    def test_a_nested_payload_is_sent(self, start, mail, mailbox):
        api, worker = start(**mail)
        listen(api, "email", subject="Zoo", addresses=["anna@example.org"])
        payload = {"repo_id": "zoo", "nested": json.loads("[" * 245 + "]" * 245)}
        api.notify(payload=payload)
        assert [row.status for row in worker.attempt()] == ["delivered"]
        assert json.loads(mailbox.mail().get_content())["payload"] == payload

    def test_one_that_fails_is_retried_alone(self, start, mail, mailbox):
        api, worker = start(**mail)
        mailbox.replies["b@example.com"] = ["451 Not now"]
        listen(api, "email", subject="s", addresses=["a@example.com", "b@example.com", "c@example.com"])
        finish(api)
        assert [row.status for row in worker.attempt()] == ["delivered", "waiting", "delivered"]
        assert [row.status for row in worker.attempt()] == ["delivered"]
        assert [mailbox.mail()["To"][0] for _ in range(3)] == ["a", "c", "b"]

    @pytest.mark.parametrize(
        ("config", "error"),
        [
            ({"addresses": ["a@example.com"]}, "E-mail notifier configured without a subject"),
            ({"addresses": ["a@example.com"], "subject": 5}, "E-mail notifier configured without a subject"),
            ({"subject": "s"}, "E-mail notifier configured without addresses"),
            ({"subject": "s", "addresses": []}, "E-mail notifier configured without addresses"),
            ({"subject": "s", "addresses": {}}, "E-mail notifier configured without addresses"),
            ({}, "E-mail notifier configured without addresses"),
        ],
    )
    def test_subject_and_addresses_are_needed(self, start, mail, mailbox, config, error):
        api, worker = start(**mail)
        listen(api, "email", **config)
        finish(api)
        row = only(worker.attempt())
        assert (row.status, row.attempts, row.error) == ("dead", 1, error)
        assert mailbox.envelopes.empty()

    def test_what_is_no_address_is_refused_alone(self, start, mail, mailbox):
        api, worker = start(**mail)
        listen(api, "email", subject="s", addresses=[5, "x", "a@example.com"])
        finish(api)
        assert [row.status for row in worker.attempt()] == ["dead", "dead", "delivered"]
        assert mailbox.mail()["To"] == "a@example.com"

    def test_without_a_mail_server_it_says_so(self, start):
        api, worker = start()
        listen(api, "email", subject="s", addresses=["a@example.com"])
        finish(api)
        assert "EXTENSION_SMTP_HOST" in only(worker.attempt()).error


class TestAmqp:
    @pytest.fixture
    def queue(self):
        """Bind a queue to an exchange: ``queue("amq.topic", "pulp.server.#")``."""
        made = []
        with kombu.Connection(URL) as connection:

            def bind(name, key, **options):
                exchange = kombu.Exchange(name, "topic", **options)
                queue = kombu.Queue("", exchange, key, exclusive=True)(connection)
                queue.declare()
                made.append(queue)
                return queue

            yield bind
            for each in made:
                each.delete()

    @rabbitmq
    def test_the_usual_exchange_is_amq_topic(self, start, queue):
        there = queue("amq.topic", "pulp.server.repo.sync.finish", durable=True)
        api, worker = start(EXTENSION_PULP_AMQP_URL=URL)
        listen(api, "amqp")
        finish(api)
        assert only(worker.attempt()).status == "delivered"
        got = there.get(no_ack=True)
        assert got.delivery_info["routing_key"] == "pulp.server.repo.sync.finish"
        assert got.content_type == "application/json"
        assert json.loads(got.body) == DOCUMENT

    @rabbitmq
    def test_an_exchange_may_be_named(self, start, queue):
        name = "test-pulp-notifiers"
        there = queue(name, "pulp.server.repo.*.start", durable=False, auto_delete=True)
        api, worker = start(EXTENSION_PULP_AMQP_URL=URL)
        listen(api, "amqp", exchange=name)
        api.notify("repo.publish.start", {"repo_id": "zoo", "distributor_id": "yum"})
        assert only(worker.attempt()).status == "delivered"
        got = there.get(no_ack=True)
        assert got.delivery_info["exchange"] == name
        assert got.delivery_info["routing_key"] == "pulp.server.repo.publish.start"

    def test_without_a_broker_it_is_refused(self, start):
        api, worker = start()
        listen(api, "amqp")
        finish(api)
        row = only(worker.attempt())
        assert (row.status, row.attempts) == ("dead", 1)
        assert row.error == "AMQP notifier without a broker: EXTENSION_PULP_AMQP_URL is not set"

    @pytest.mark.parametrize("exchange", [5, ["a"], {"a": 1}])
    def test_an_exchange_is_a_text(self, start, exchange):
        api, worker = start(EXTENSION_PULP_AMQP_URL="amqp://127.0.0.1:1/")
        listen(api, "amqp", exchange=exchange)
        finish(api)
        row = only(worker.attempt())
        assert (row.status, row.error) == ("dead", "AMQP notifier configured with an exchange that is not a text")


class TestRetries:
    def test_others_are_not_disturbed_by_one_that_fails(self, start, receiver):
        api, worker = start()
        bad, good = receiver(answer=lambda request: reply(500)), receiver()
        for there in (bad, good):
            listen(api, url=there.url("/", "127.0.0.1"))
        listen(api)
        finish(api)
        assert [row.status for row in worker.attempt()] == ["waiting", "delivered", "dead"]

    @pytest.mark.parametrize(("schedule", "attempts"), [("none", 1), ("0.01", 2), ("0.01x2", 3)])
    def test_the_schedule_is_that_of_the_settings(self, start, receiver, schedule, attempts):
        api, worker = start(EXTENSION_PULP_RETRY_SCHEDULE=schedule)
        there = receiver(answer=lambda request: reply(500))
        listen(api, url=there.url("/", "127.0.0.1"))
        finish(api)
        rows = [only(worker.attempt()) for _ in range(attempts)]
        assert [row.status for row in rows] == ["waiting"] * (attempts - 1) + ["dead"]
        assert worker.attempt() == []
        assert len(there.requests) == attempts


class TestOtherSystems:
    @pytest.fixture
    def killswitch(self):
        extension = Extension("killswitch")
        extension.add_protocol(
            EventProtocol(
                "killswitch",
                settings=PulpSettings,
                routes=lambda kit, settings: Routes(Blueprint("killswitch", __name__), ("/killswitch",), answer_error),
                names=("killswitch.engaged", "killswitch.released"),
            )
        )
        return extension

    def publish(self, api, name="killswitch.engaged", **more):
        with api.kit.transaction() as transaction:
            transaction.publish(PublishedEvent.of(source="killswitch", id="1", name=name, **more))

    @pytest.mark.parametrize(
        ("content", "payload"),
        [
            ({"data": {"by": "änna"}}, {"by": "änna"}),
            ({"data": [1]}, [1]),
            ({"body": b'{"by":\n "anna"}'}, {"by": "anna"}),
            ({"body": b"no json \xff"}, "no json \ufffd"),
            ({"body": b"[" * 400 + b"]" * 400}, json.loads("[" * 400 + "]" * 400)),
            ({"body": b"[" * 2000 + b"]" * 2000}, "[" * 2000 + "]" * 2000),
        ],
        ids=["object", "list", "spaces", "no json", "nested", "nested too deep"],
    )
    def test_the_body_is_the_payload(self, start, receiver, killswitch, content, payload):
        api, worker = start(killswitch, EXTENSION_PULP_EVENT_TYPES="killswitch.engaged")
        there = receiver()
        api.create(notifier_config={"url": there.url("/", "127.0.0.1")}, event_types=["killswitch.engaged"])
        listen(api, url=there.url("/all", "127.0.0.1"))
        api.create(event_types=["repo.sync.start"])
        self.publish(api, **content)
        assert [row.status for row in worker.attempt()] == ["delivered"] * 2
        for request in there.requests:
            assert json.loads(request.body) == {
                "event_type": "killswitch.engaged",
                "payload": payload,
                "call_report": None,
            }

    @pytest.mark.parametrize("depth", [400, 900, 2000])
    def test_a_nested_body_is_mailed(self, start, killswitch, mail, mailbox, depth):
        api, worker = start(killswitch, EXTENSION_PULP_EVENT_TYPES="killswitch.engaged", **mail)
        listen(api, "email", subject="Zoo", addresses=["anna@example.org"])
        self.publish(api, body=b"[" * depth + b"]" * depth)
        assert [row.status for row in worker.attempt()] == ["delivered"]
        assert '"event_type": "killswitch.engaged"' in mailbox.mail().get_content()

    def test_types_that_are_not_named_reach_nobody(self, start, killswitch):
        api, _ = start(killswitch, EXTENSION_PULP_EVENT_TYPES="killswitch.engaged")
        listen(api)
        self.publish(api, "killswitch.released", data={})
        assert api.deliveries() == []
        api.ask("POST", body={**HTTP, "event_types": ["killswitch.released"]}, status=400)


class TestChanges:
    def test_a_changed_configuration_counts_for_waiting_deliveries(self, start, receiver):
        api, worker = start()
        bad, good = receiver(answer=lambda request: reply(500)), receiver()
        made = listen(api, url=bad.url("/", "127.0.0.1"), username="anna", password="old")
        finish(api)
        assert only(worker.attempt()).status == "waiting"
        change = {"url": good.url("/new", "127.0.0.1"), "password": "new"}
        api.ask("PUT", api.one(made["id"]), {"notifier_config": change})
        assert only(worker.attempt()).status == "delivered"
        assert only(good.requests).headers["authorization"] == "Basic " + b64encode(b"anna:new").decode()

    def test_a_removed_listener_discards_its_waiting_ones(self, start, receiver):
        api, worker = start()
        there = receiver()
        made = listen(api, url=there.url("/", "127.0.0.1"))
        finish(api)
        api.ask("DELETE", api.one(made["id"]))
        assert only(worker.attempt()).status == "discarded"
        assert there.requests == []

    def test_a_password_of_another_secret_is_refused_in_words(self, start, receiver):
        api, _ = start()
        there = receiver()
        listen(api, url=there.url("/", "127.0.0.1"), username="anna", password="s3cret")
        finish(api)
        _, worker = start(EXTENSION_PULP_SECRET="another secret, which is long enough, too")
        row = only(worker.attempt())
        assert (row.status, row.attempts, there.requests) == ("dead", 1, [])
        assert row.error == "the password was encrypted with another EXTENSION_PULP_SECRET"
