"""Senders are made from the settings, when they are needed and not before."""

import subprocess
import sys
from ipaddress import ip_network

import pytest

from extension_kit.deliveries.sender_pool import Senders
from extension_kit.errors import ConfigurationError
from extension_kit.senders import Outcome
from extension_kit.settings.kit import Settings
from tests.conftest import APPS
from tests.unit.senders.receivers import message, silence

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
durability = Service.of(load_extensions(["ledger.py"]), Settings.from_environment()).durability
durability.worker("test")
durability.close(1)
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
