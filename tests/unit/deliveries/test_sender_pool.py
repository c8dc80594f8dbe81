"""Senders are made from the settings, when they are needed and not before."""

import subprocess
import sys
from ipaddress import ip_network

import pytest

from extension_kit.deliveries.sender_pool import Senders
from extension_kit.errors import ConfigurationError
from extension_kit.senders import Outcome
from extension_kit.senders.http_calls import CallFailed
from extension_kit.settings.kit import Settings
from tests.support.certificates import authority, ca_file, tls_for
from tests.support.paths import APPS
from tests.support.receivers import TIMEOUT, message, silence
from tests.support.servers import free_port

__all__ = ["authority", "ca_file", "tls_for"]  # fixtures
LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def make():
    made = []

    def make(**more):
        made.append(Senders(Settings(**more)))
        return made[-1]

    yield make
    for senders in made:
        senders.close()


def test_a_worker_with_functions_only_imports_none_of_them(tmp_path):
    script = """
import sys
from extension_kit.loading import load_extensions
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
runtime = Service.of(load_extensions(["ledger.py"]), Settings.from_environment()).open().runtime
runtime.worker("test")
runtime.close(1)
print(sorted({"urllib3", "kombu", "smtplib", "standardwebhooks"} & sys.modules.keys()))
"""
    environment = {"EXTENSION_DATABASE_URL": f"sqlite:///{tmp_path}/x.db", "PYTHONPATH": str(APPS)}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=APPS, env=environment, capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "[]\n", run.stderr


def test_each_is_made_once(make):
    senders = make()
    assert senders.get("http") is senders.get("http")
    assert senders.get("amqp") is not senders.get("http")


def test_one_that_does_not_exist(make):
    with pytest.raises(ConfigurationError, match="no sender 'pigeon': http, email, amqp"):
        make().get("pigeon")
    assert make().check("pigeon", {}).keys() == {"sender"}


def test_e_mail_needs_a_mail_server(make):
    hint = "no e-mail can be sent without a mail server: set EXTENSION_SMTP_HOST"
    with pytest.raises(ConfigurationError, match=hint):
        make().get("email")
    target = {"to": ["anna@example.org"]}
    assert make().check("email", target) == {"sender": hint}
    there = make(smtp_host="mail.example.com", smtp_sender="Oncall <oncall@example.com>")
    assert there.check("email", target) == {}
    assert there.check("email", {"to": ["anna"]}).keys() == {"target.to"}


def test_amqp_needs_its_extra(make, monkeypatch):
    target = {"url": "amqp://broker.example.com", "routing_key": "queue"}
    assert make().check("amqp", target) == {}
    monkeypatch.setitem(sys.modules, "kombu", None)
    monkeypatch.delitem(sys.modules, "extension_kit.senders.amqp_connection", raising=False)
    hint = "kombu is not installed: pip install 'extension-kit[amqp]'"
    senders = make(delivery_allow_networks=LOOPBACK)
    assert senders.check("amqp", target) == {"target.url": hint}
    there = {"url": "amqp://127.0.0.1", "routing_key": "queue"}
    assert senders.get("amqp").send(there, message()) == Outcome("failed", hint)


def test_authorities_that_cannot_be_used_are_found_at_the_start(make, tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be used"):
        make(delivery_ca_file=str(tmp_path / "missing.pem"))


def test_only_networks_that_are_allowed_are_dialled(make, receiver):
    there = receiver()
    target = {"url": there.url(host="127.0.0.1")}
    assert make().get("http").send(target, message()).result == "refused"
    assert make(delivery_allow_networks=LOOPBACK).get("http").send(target, message()).result == "delivered"
    assert len(there.requests) == 1


def test_receivers_have_as_long_as_the_settings_say(make, receiver):
    there = receiver(answer=lambda request: silence)
    sender = make(delivery_allow_networks=LOOPBACK, delivery_timeout=0.2).get("http")
    assert sender.send({"url": there.url(host="127.0.0.1")}, message()) == Outcome("failed", "127.0.0.1: timed out")


def test_protocols_that_make_the_attempts_know_their_targets(make):
    assert make().check("protocol", {"anything": 1}) == {}


class TestCalls:
    """Calls of event protocols go where webhooks go."""

    def call(self, senders, url):
        return senders.http_calls.call("GET", url, headers={}, body=None, timeout=TIMEOUT, limit=100)

    def test_they_are_made_in_one_place(self, make):
        senders = make()
        assert senders.http_calls is senders.http_calls

    def test_only_networks_that_are_allowed_are_dialled(self, make, receiver):
        there = receiver()
        with pytest.raises(CallFailed, match="EXTENSION_DELIVERY_ALLOW_NETWORKS"):
            self.call(make(), there.url(host="127.0.0.1"))
        assert there.server.accepted == 0
        assert self.call(make(delivery_allow_networks=LOOPBACK), there.url(host="127.0.0.1")).status == 200

    def test_they_go_through_the_proxy_of_the_settings(self, make):
        senders = make(delivery_proxy=f"http://127.0.0.1:{free_port()}")
        with pytest.raises(CallFailed, match=r"receiver\.test: through the proxy 127\.0\.0\.1: Connection refused"):
            self.call(senders, "http://receiver.test/")

    def test_the_authorities_of_the_settings_are_trusted(self, make, receiver, tls_for, ca_file):
        there = receiver(tls=tls_for("127.0.0.1"))
        url = there.url(host="127.0.0.1")
        trusting = make(delivery_allow_networks=LOOPBACK, delivery_ca_file=ca_file)
        assert self.call(trusting, url).status == 200
        with pytest.raises(CallFailed, match="TLS: "):
            self.call(make(delivery_allow_networks=LOOPBACK), url)

    def test_their_connections_are_closed_with_the_senders(self, make, receiver):
        there, senders = receiver(), make(delivery_allow_networks=LOOPBACK)
        self.call(senders, there.url(host="127.0.0.1"))
        assert there.server.ended.empty()
        senders.close()
        assert there.server.ended.get(timeout=TIMEOUT) is None
