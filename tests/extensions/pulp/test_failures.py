"""Mail servers and brokers that are not set, not there, or refuse: failures are shown, logged and tried again."""

import json
import logging
import socket

import pytest

from tests.extensions.pulp.api import EVENTS
from tests.extensions.pulp.notifying import DOCUMENT, finish, listen, mail, mail_settings, only, start
from tests.support.broker import URL, Exchange, rabbitmq, relay, url_through
from tests.support.mailbox import mailbox, smtp
from tests.support.receivers import receiver, reply, server
from tests.support.servers import free_port

__all__ = ["mail", "mailbox", "receiver", "server", "smtp", "start"]  # fixtures

MAIL = {"subject": "s", "addresses": ["a@example.com"]}


def shown(api, made):
    return only(api.ask("GET", f"{EVENTS}{made['id']}/deliveries/"))


class TestMailServers:
    def test_one_that_is_not_there_is_told_and_gets_the_message_when_it_is(self, start, smtp, mailbox):
        port = free_port()
        api, worker = start(**mail_settings(port))
        made = listen(api, "email", **MAIL)
        finish(api)
        assert only(worker.attempt()).status == "waiting"
        found = shown(api, made)
        assert (found["status"], found["attempts"], found["answer"]) == ("waiting", 1, None)
        assert found["error"].startswith("127.0.0.1: ")
        smtp(sock=socket.create_server(("127.0.0.1", port)))
        assert only(worker.attempt()).status == "delivered"
        assert json.loads(mailbox.mail().get_content()) == DOCUMENT

    @pytest.mark.parametrize(
        ("said", "status"),
        [("451 Not now", "waiting"), ("554 Not this", "dead")],
        ids=["for-now-is-tried-again", "for-good-is-given-up"],
    )
    @pytest.mark.parametrize("at", ["recipient", "message"])
    def test_one_that_refuses(self, start, mail, mailbox, at, said, status):
        if at == "message":
            mailbox.data = said
        else:
            mailbox.replies["a@example.com"] = [said]
        api, worker = start(**mail)
        made = listen(api, "email", **MAIL)
        finish(api)
        assert only(worker.attempt()).status == status
        found = shown(api, made)
        assert (found["status"], found["answer"]) == (status, int(said[:3]))
        assert said[4:] in found["excerpt"]
        assert mailbox.envelopes.empty()

    def test_without_one_the_listener_shows_it_and_others_are_notified(self, start, receiver):
        api, worker = start()
        made = listen(api, "email", **MAIL)
        there = receiver()
        listen(api, url=there.url("/", "127.0.0.1"))
        assert finish(api)["is_new"]
        assert [row.status for row in worker.attempt()] == ["waiting", "delivered"]
        assert "EXTENSION_SMTP_HOST" in shown(api, made)["error"]
        assert json.loads(only(there.requests).body) == DOCUMENT


@rabbitmq
class TestBrokers:
    @pytest.fixture
    def exchange(self):
        made = Exchange(hostname=URL, binding="pulp.server.#")
        yield made
        made.close()

    def test_one_that_is_not_there_is_told_and_gets_the_message_when_it_is(self, start, server, exchange):
        port = free_port()
        api, worker = start(EXTENSION_PULP_AMQP_URL=url_through(port))
        made = listen(api, "amqp", exchange=exchange.name)
        assert finish(api)["is_new"]
        assert only(worker.attempt()).status == "waiting"
        found = shown(api, made)
        assert (found["status"], found["attempts"], found["answer"]) == ("waiting", 1, None)
        assert found["error"].startswith("127.0.0.1: ")
        server(relay, port=port)
        assert only(worker.attempt()).status == "delivered"
        assert json.loads(exchange.get().body) == DOCUMENT

    def test_all_listeners_share_a_connection(self, start, server, exchange):
        broker = server(relay)
        api, worker = start(EXTENSION_PULP_AMQP_URL=url_through(broker.port))
        for _ in range(3):
            listen(api, "amqp", exchange=exchange.name)
        finish(api)
        api.notify("repo.publish.finish")
        assert [row.status for row in worker.attempt()] == ["delivered"] * 6
        assert broker.accepted == 1

    def test_an_exchange_that_is_not_there_is_told_and_gets_the_message_when_it_is(self, start, exchange):
        exchange.remove()
        api, worker = start(EXTENSION_PULP_AMQP_URL=URL)
        made = listen(api, "amqp", exchange=exchange.name)
        finish(api)
        assert only(worker.attempt()).status == "waiting"
        found = shown(api, made)
        assert (found["answer"], exchange.name in found["excerpt"]) == (404, True)
        exchange.declare()
        assert only(worker.attempt()).status == "delivered"
        assert json.loads(exchange.get().body) == DOCUMENT

    @pytest.mark.parametrize("config", [{"exchange": None}, {"exchange": ""}], ids=["null", "empty"])
    def test_without_a_name_the_exchange_is_the_usual_one(self, start, config):
        usual = Exchange(hostname=URL, binding="pulp.server.repo.sync.finish", name="amq.topic", durable=True)
        try:
            api, worker = start(EXTENSION_PULP_AMQP_URL=URL)
            listen(api, "amqp", **config)
            finish(api)
            assert only(worker.attempt()).status == "delivered"
            assert json.loads(usual.get().body) == DOCUMENT
        finally:
            usual.close()


class TestLogs:
    def test_a_failure_is_logged_without_secrets_and_payload(self, start, receiver, caplog):
        caplog.set_level(logging.DEBUG)
        echoing = receiver(answer=lambda request: reply(500, request.headers["authorization"].encode() + request.body))
        api, worker = start()
        url = echoing.url("/hook?token=t0k3n", "127.0.0.1")
        listen(api, url=url, username="anna", password="s3cret")
        api.notify("repo.sync.finish", {"repo_id": "zoo", "error_message": "payl0ad"}, {"task_id": "t1"})
        row = only(worker.attempt())
        sent = echoing.requests[0].headers["authorization"].split()[1]
        (line,) = [record.getMessage() for record in caplog.records if "answered 500" in record.getMessage()]
        assert "repo.sync.finish" in line
        assert row.listener in line
        for secret in ("t0k3n", "s3cret", "payl0ad", sent):
            assert secret not in caplog.text
