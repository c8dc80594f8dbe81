"""Messages, as channels of apprise get them from real servers of this machine."""

import json

import pytest
from apprise.plugins.slack import NotifySlack

from extension_kit import SettingError
from extension_kit.testing import InMemoryAgent
from extensions.notify import extension
from tests.support.mailbox import mailbox, smtp
from tests.support.receivers import receiver, reply

__all__ = ["mailbox", "receiver", "smtp"]

SECRET = "s3cr3t-t0k3n"


@pytest.fixture
def agent_of(monkeypatch):
    """Make an agent of the extension with these channels: ``agent_of("json://...", EXTENSION_NOTIFY_LINK="...")``."""

    def make(*urls, **variables):
        for name, value in {"EXTENSION_NOTIFY_URLS": " ".join(urls), **variables}.items():
            monkeypatch.setenv(name, value)
        return InMemoryAgent(extension)

    return make


@pytest.fixture
def slack(receiver, monkeypatch):
    """A double of Slack's incoming webhooks."""
    double = receiver(answer=lambda request: reply(body=b"ok"))
    monkeypatch.setattr(NotifySlack, "webhook_url", double.url("/services", host="127.0.0.1"))
    monkeypatch.setattr(NotifySlack, "request_rate_per_sec", 0)
    return double


def json_url(server, path=f"/{SECRET}"):
    return f"json://127.0.0.1:{server.port}{path}"


class TestMessage:
    def test_tells_about_the_run(self, agent_of, receiver):
        server = receiver()
        agent = agent_of(json_url(server), EXTENSION_NOTIFY_LINK="https://platform.test/{{ run.execution_id }}")
        sent = agent.send("experiment.execution.failed", name="Shop survives", reason="check failed")
        assert [delivery.status for delivery in sent.deliveries] == ["delivered"]
        message = json.loads(server.requests[0].body)
        run = sent.event["experimentExecution"]
        assert message["title"] == "Shop survives: failed"
        assert f"Run {run['executionId']} of experiment {run['experimentKey']}" in message["message"]
        assert "check failed" in message["message"]
        assert message["message"].endswith(f"https://platform.test/{run['executionId']}")
        assert message["type"] == "failure"

    def test_needs_neither_team_nor_environment(self, agent_of, receiver):
        server = receiver()
        agent = agent_of(json_url(server))
        event = agent.factory.event("experiment.execution.errored")
        sent = agent.send({**event, "team": None, "environment": None})
        assert [delivery.status for delivery in sent.deliveries] == ["delivered"]
        assert "team" not in json.loads(server.requests[0].body)["message"]

    @pytest.mark.parametrize(
        ("name", "kind"),
        [("completed", "success"), ("failed", "failure"), ("canceled", "warning"), ("created", "info")],
    )
    def test_has_the_kind_of_the_end(self, name, kind, agent_of, receiver):
        server = receiver()
        agent_of(json_url(server), EXTENSION_NOTIFY_EVENTS="experiment.execution.*").send(
            f"experiment.execution.{name}"
        )
        assert json.loads(server.requests[0].body)["type"] == kind

    def test_is_sent_for_chosen_events_only(self, agent_of, receiver):
        server = receiver()
        agent = agent_of(json_url(server))
        agent.play(agent.factory.run(outcome="completed"))
        assert server.requests == []
        agent.play(agent.factory.run(outcome="failed"))
        assert len(server.requests) == 1

    def test_comes_from_the_template(self, agent_of, receiver):
        server = receiver()
        agent = agent_of(
            json_url(server), EXTENSION_NOTIFY_TEMPLATE="{{ run.name | upper }}\nby {{ event.tenant.name }}"
        )
        sent = agent.send("experiment.execution.failed", name="shop")
        message = json.loads(server.requests[0].body)
        assert (message["title"], message["message"]) == ("SHOP", f"by {sent.event['tenant']['name']}")

    def test_of_a_failing_template_is_a_dead_letter_at_once(self, agent_of, receiver):
        server = receiver()
        agent = agent_of(json_url(server), EXTENSION_NOTIFY_TEMPLATE="{{ run.nothing.there }}")
        (delivery,) = agent.send("experiment.execution.failed").deliveries
        assert (delivery.status, delivery.attempts) == ("dead", 1)
        assert "EXTENSION_NOTIFY_TEMPLATE" in delivery.error
        assert server.requests == []

    def test_in_slack_mentions_nobody(self, agent_of, slack):
        agent = agent_of("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
        agent.send("experiment.execution.failed", name="<!channel> <b>down</b> & out", reason="<@U123> look")
        body = slack.requests[0].body.decode()
        assert "&lt;!channel&gt; &lt;b&gt;down&lt;/b&gt; &amp; out" in body
        assert "<!channel>" not in body
        assert "<@U123>" not in body
        assert "http" not in body.replace("&lt;", "")

    def test_by_mail(self, agent_of, smtp, mailbox):
        url = f"mailto://127.0.0.1:{smtp()}?smtp=127.0.0.1&mode=insecure&from=kit@example.com&to=oncall@example.com"
        agent_of(url).send("experiment.execution.failed", name="Shop <survives>")
        mail = mailbox.mail()
        assert mail["to"] == "oncall@example.com"
        assert mail["subject"] == "Shop <survives>: failed"
        assert "of experiment" in mail.get_body(("plain", "html")).get_content()


class TestFailure:
    def test_of_one_channel_holds_up_no_other(self, agent_of, receiver):
        broken, working = receiver(answer=lambda request: reply(500)), receiver()
        sent = agent_of(f"broken={json_url(broken)}", f"works={json_url(working)}").send("experiment.execution.failed")
        assert {delivery.name: delivery.status for delivery in sent.deliveries} == {
            "broken": "dead",
            "works": "delivered",
        }
        assert len(working.requests) == 1
        assert len(broken.requests) > 1

    @pytest.mark.parametrize("status", [302, 400, 404, 410])
    def test_is_final_where_another_attempt_would_fail_too(self, status, agent_of, receiver):
        server = receiver(answer=lambda request: reply(status))
        (delivery,) = agent_of(json_url(server)).send("experiment.execution.failed").deliveries
        assert (delivery.status, delivery.attempts) == ("dead", 1)
        assert f"error={status}" in delivery.error

    @pytest.mark.parametrize("status", [408, 429, 500, 503])
    def test_is_retried(self, status, agent_of, receiver):
        answers = iter([reply(status), reply()])
        server = receiver(answer=lambda request: next(answers))
        (delivery,) = agent_of(json_url(server)).send("experiment.execution.failed").deliveries
        assert (delivery.status, delivery.attempts) == ("delivered", 2)

    def test_names_no_secret(self, agent_of, receiver):
        server = receiver(answer=lambda request: reply(404, body=SECRET.encode()))
        (delivery,) = agent_of(json_url(server)).send("experiment.execution.failed").deliveries
        assert SECRET not in delivery.error
        (delivery,) = (
            agent_of(f"json://user:{SECRET}@127.0.0.1:1/{SECRET}").send("experiment.execution.failed").deliveries
        )
        assert SECRET not in delivery.error


class TestSettings:
    def test_need_a_channel(self, agent_of):
        with pytest.raises(SettingError, match="EXTENSION_NOTIFY_URLS is not set"):
            agent_of()

    @pytest.mark.parametrize("url", [f"slck://{SECRET}", f"slack://{SECRET}", f"https//{SECRET}", SECRET])
    def test_refuse_a_wrong_url_without_telling_it(self, url, agent_of):
        with pytest.raises(SettingError, match="URL 2") as refusal:
            agent_of("json://127.0.0.1", url)
        assert SECRET not in str(refusal.value)

    def test_refuse_a_wrong_template(self, agent_of):
        with pytest.raises(SettingError, match="EXTENSION_NOTIFY_TEMPLATE"):
            agent_of("json://127.0.0.1", EXTENSION_NOTIFY_TEMPLATE="{{ run.name")

    def test_refuse_two_channels_of_one_name(self, agent_of):
        with pytest.raises(SettingError, match="two channels are called oncall"):
            agent_of("oncall=json://127.0.0.1", "oncall=json://127.0.0.2")

    def test_give_channels_names(self, agent_of):
        agent_of("json://127.0.0.1", "oncall=json://127.0.0.2", "json://127.0.0.3")
        assert [listener.name for listener in extension.listeners] == ["json", "oncall", "json-2"]

    def test_have_one_path_for_all_channels(self, agent_of):
        document = agent_of("json://127.0.0.1", "json://127.0.0.2").registration
        assert [listener["path"] for listener in document["eventListeners"]] == ["/events/notify"]
