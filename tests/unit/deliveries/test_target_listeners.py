"""Targets of extensions: real receivers get the messages, and what becomes of deliveries without one."""

import json
from base64 import b64encode
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from standardwebhooks import Webhook

from extension_kit import ConfigurationError, Extension, GiveUp, NotReady, RegistrationError, RetryLater
from extension_kit.agent.factory import EventFactory
from extension_kit.deliveries.function_handlers import function_handlers
from extension_kit.deliveries.handler import Due
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.deliveries.subscription_handlers import Circuits
from extension_kit.deliveries.target_listeners import made_targets, target_listener_handlers
from extension_kit.protocol import Message, SettingError, StoreUnavailable
from extension_kit.senders import Outcome
from extension_kit.settings.kit import Settings
from extension_kit.templates import Template
from extension_kit.testing import InMemoryAgent
from tests.support.receivers import TIMEOUT, receiver, reply
from tests.support.servers import free_port

__all__ = ["receiver"]  # a fixture
SECRET = "whsec_" + b64encode(b"k" * 32).decode()
BODY = b'{"eventName": "experiment.execution.failed", "id": "7"}'
OPEN_AFTER = 5
"""Failures in a row without a connection."""


@pytest.fixture
def senders():
    made = Senders(Settings(delivery_allow_networks=(ip_network("127.0.0.0/8"),), delivery_timeout=TIMEOUT))
    yield made
    made.close()


def forwarding(target, make_message=lambda event: Message(event.id, event.body), **options):
    extension = Extension("extension-forward")
    extension.add_target("*", name="hook", target=target, make_message=make_message, **options)
    return extension.listeners


def handler_of(listeners, senders, find_step=lambda run, step: None):
    handlers = target_listener_handlers(
        listeners, made_targets(listeners, senders), senders, Circuits.make(), find_step, {}
    )
    return function_handlers(listeners, 30.0, lambda run, step: None, others=handlers)(listeners[0].key, None)


def due(source="steadybit"):
    return Due(1, 1, 0, "", datetime.now(UTC), "experiment.execution.failed", "7", BODY, source, None, None, None, None)


def outcome_of(senders, make_message, url="http://127.0.0.1:1/"):
    return handler_of(forwarding({"url": url}, make_message), senders).make(due())


def raising(error):
    def make_message(event):
        raise error

    return make_message


class TestSending:
    def test_a_message_is_sent_signed_with_its_id(self, receiver, senders):
        there = receiver()
        target = {"url": there.url("/hook", "127.0.0.1"), "secret": SECRET, "headers": {"X-Own": "1"}}
        outcome = handler_of(forwarding(target), senders).make(due())
        (request,) = there.requests
        assert outcome == Outcome("delivered", status=200)
        assert (request.method, request.path, request.body) == ("POST", "/hook", BODY)
        assert (request.headers["webhook-id"], request.headers["x-own"]) == ("7", "1")
        assert Webhook(SECRET).verify(request.body, request.headers) == json.loads(BODY)

    def test_events_of_other_protocols_are_sent_too(self, receiver, senders):
        there = receiver()
        target = {"url": there.url("/", "127.0.0.1")}
        listeners = forwarding(target, lambda event: Message(event.id, event.source.encode()))
        assert handler_of(listeners, senders).make(due("croneye")).result == "delivered"
        assert there.requests[0].body == b"croneye"

    def test_without_a_message_nothing_is_sent(self, receiver, senders):
        there = receiver()
        assert outcome_of(senders, lambda event: None, there.url("/", "127.0.0.1")) == Outcome("delivered")
        assert there.requests == []

    def test_an_answer_that_is_no_success_is_tried_again(self, receiver, senders):
        there = receiver(answer=lambda request: reply(503, b"closed", Retry_After=60))
        handler = handler_of(forwarding({"url": there.url("/", "127.0.0.1")}, retry=[1, 2]), senders)
        outcome = handler.make(due())
        assert (outcome.result, outcome.status, outcome.retry_after) == ("failed", 503, 60)
        assert handler.schedule.delays == (1, 2)

    @pytest.mark.parametrize("status", [401, 403])
    def test_while_the_credentials_are_refused_deliveries_wait(self, receiver, senders, status):
        there = receiver(answer=lambda request: reply(status, b"who are you?"))
        handler = handler_of(forwarding({"url": there.url("/T0KEN", "127.0.0.1")}), senders)
        for _ in range(30):
            outcome = handler.make(due())
            assert (outcome.result, outcome.status) == ("not ready", status)
            assert outcome.error == f"127.0.0.1:{there.port} refuses the credentials ({status})"
        assert handler.circuit_wait() == 0

    def test_a_receiver_that_is_gone_rests_after_some_failures(self, senders):
        handler = handler_of(forwarding({"url": f"http://127.0.0.1:{free_port()}/"}), senders)
        for _ in range(OPEN_AFTER):
            assert handler.circuit_wait() == 0
            assert handler.make(due()).unreachable
        assert handler.circuit_wait() > 0

    def test_messages_that_cannot_be_made_do_not_open_the_circuit(self, senders):
        handler = handler_of(forwarding({"url": "http://127.0.0.1:1/"}, raising(ValueError("bad"))), senders)
        for _ in range(30):
            handler.make(due())
        assert handler.circuit_wait() == 0


class TestExceptionsOfTheFunction:
    @pytest.mark.parametrize(
        ("error", "outcome"),
        [
            (GiveUp("no such team"), Outcome("refused", "no such team")),
            (KeyError("team"), Outcome("refused", "KeyError: 'team'")),
            (RecursionError(), Outcome("refused", "RecursionError")),
            (RetryLater(9, "not yet"), Outcome("failed", "not yet", retry_in=9)),
            (NotReady("no token", retry_in=5), Outcome("not ready", "no token", retry_in=5)),
        ],
    )
    def test_most_end_the_delivery_at_once(self, senders, error, outcome):
        found = outcome_of(senders, raising(error))
        assert found.result == outcome.result
        assert found.error.rstrip(": ") == outcome.error
        assert found.retry_in == outcome.retry_in

    def test_a_database_that_is_away_is_no_reason_to_give_up(self, senders):
        def find_step(run, step_id):
            raise StoreUnavailable("the database is away")

        template = Template.parse("{{ event.step.custom_label }}", name="T")
        body = json.dumps(EventFactory().event("experiment.execution.target-started")).encode()
        listeners = forwarding(
            {"url": "http://127.0.0.1:1/"}, lambda event: Message(event.id, template.render(event).encode())
        )
        outcome = handler_of(listeners, senders, find_step).make(due()._replace(body=body))
        assert outcome == Outcome("failed", "the database is away")

    def test_a_message_is_made_without_state(self, senders):
        outcome = outcome_of(senders, lambda event: Message(str(event.attempt), event.state.get("a")))
        assert outcome == Outcome(
            "refused", "RuntimeError: event.state is not there for make_message: use it in a function of listen_to"
        )

    @pytest.mark.parametrize("made", ["text", b"bytes", {"body": 1}, True])
    def test_what_is_no_message_is_refused(self, senders, made):
        error = f"hook returned {type(made).__name__}: return a Message, or None"
        assert outcome_of(senders, lambda event: made) == Outcome("refused", error)


class TestTheStart:
    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ({}, "url: Missing data for required field."),
            ({"url": "ftp://a.test"}, "url: A URL such as https://example.com/path is needed"),
            ({"url": "http://a.test", "secret": "hush"}, 'secret: A secret is "whsec_"'),
            ({"url": "http://a.test", "headers": {"webhook-id": "hush"}}, "headers: webhook-id is set by the sender."),
            ({"url": "http://a.test", "unknown": "hush"}, "unknown: Unknown field."),
            (lambda: None, "is a mapping such as"),
            (lambda: 1 / 0, "cannot be made: ZeroDivisionError: division by zero"),
            (lambda: int("http://anna:hush@a.test\n"), "cannot be made: ValueError: invalid literal"),
        ],
    )
    def test_a_wrong_target_is_refused_in_one_line(self, senders, target, message):
        with pytest.raises(RegistrationError) as refused:
            made_targets(forwarding(target), senders)
        assert str(refused.value).startswith("extension-forward: the target of hook")
        assert message in str(refused.value)
        assert "hush" not in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_a_setting_that_is_missing_is_named(self, senders):
        def target():
            raise SettingError("EXTENSION_HOOK_URL is not set")

        with pytest.raises(ConfigurationError, match="the target of hook: EXTENSION_HOOK_URL is not set"):
            made_targets(forwarding(target), senders)

    @pytest.mark.parametrize(
        ("sender", "message"),
        [
            ("smoke", "there is no sender 'smoke'"),
            ("email", "EXTENSION_SMTP_HOST"),
            ("protocol", "choose http, email, amqp or nats"),
        ],
    )
    def test_a_sender_that_cannot_be_used_is_refused(self, senders, sender, message):
        with pytest.raises(ConfigurationError, match=message):
            made_targets(forwarding({"to": "a@example.com"}, sender=sender), senders)

    @pytest.mark.parametrize("target", [None, "http://a.test", 5])
    def test_a_declaration_without_a_target_says_how_to_write_it(self, target):
        with pytest.raises(RegistrationError, match="hook: a target is a mapping such as"):
            forwarding(target)

    def test_async_functions_are_refused(self):
        async def message(event):
            return None

        with pytest.raises(RegistrationError, match="hook: make_message is a plain function"):
            forwarding({"url": "http://a.test"}, message)
        with pytest.raises(RegistrationError, match="a plain function"):
            forwarding(message)

    def test_two_targets_have_two_names(self):
        extension = Extension("extension-forward")
        options = {"target": {"url": "http://a.test"}, "make_message": lambda event: None}
        extension.add_target("*", name="hook", **options)
        extension.add_target("*", name="hook-2", path="/events/hook", **options)
        with pytest.raises(RegistrationError, match="hook is registered twice"):
            extension.add_target("*", name="hook", **options)
        assert [each.key for each in extension.listeners] == [
            "extension-forward.hook@/events/hook",
            "extension-forward.hook-2@/events/hook",
        ]


class TestInMemory:
    @pytest.fixture
    def extension(self):
        extension = Extension("extension-forward")
        target = {"url": "https://receiver.test/"}

        def only_failed(event):
            if event.id == "bad":
                raise ValueError("no such team")
            return Message(event.id, event.body) if event.name.endswith("failed") else None

        extension.add_target("experiment.execution.*", name="hook", target=target, make_message=only_failed)
        return extension

    def test_messages_are_made_and_not_sent(self, agent):
        sent = agent.send("experiment.execution.failed")
        (message,) = sent.messages
        assert (message.id, json.loads(message.body)) == (sent.event["id"], sent.event)
        assert [(each.name, each.status, each.attempts) for each in sent.deliveries] == [("hook", "delivered", 1)]
        assert sent.ran == ["hook"]
        assert agent.send("experiment.execution.created").messages == []

    def test_a_message_that_cannot_be_made_is_dead_at_once(self, agent):
        sent = agent.send("experiment.execution.failed", id="bad")
        (delivery,) = sent.deliveries
        assert (delivery.status, delivery.attempts, delivery.error) == ("dead", 1, "ValueError: no such team")
        assert (sent.messages, str(sent.error)) == ([], "no such team")

    def test_a_wrong_target_is_refused_as_at_the_start(self):
        extension = Extension("extension-forward")
        extension.add_target("*", name="hook", target={"url": "nowhere"}, make_message=lambda event: None)
        with pytest.raises(RegistrationError, match="the target of hook: url"):
            InMemoryAgent(extension)
