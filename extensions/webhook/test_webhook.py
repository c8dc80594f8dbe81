import json

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from extension_kit import ConfigurationError
from extension_kit.testing import InMemoryAgent
from extensions import webhook


@pytest.fixture(autouse=True)
def url(monkeypatch):
    monkeypatch.setenv("EXTENSION_WEBHOOK_URL", "https://receiver.test/T0KEN")


@pytest.fixture
def agent_with(monkeypatch, tmp_path):
    """Make an agent for the extension with settings, and a template."""

    def agent_with(template=None, **settings):
        if template is not None:
            (tmp_path / "template.txt").write_text(template, encoding="utf-8")
            settings = {"format": "template", "template_file": tmp_path / "template.txt", **settings}
        for name, value in settings.items():
            monkeypatch.setenv(f"EXTENSION_WEBHOOK_{name.upper()}", str(value))
        return InMemoryAgent(webhook.extension)

    return agent_with


def test_events_are_sent_as_they_came(agent_with):
    sent = agent_with().send("experiment.execution.failed")
    (message,) = sent.messages
    assert (message.id, message.content_type, message.headers) == (sent.event["id"], "application/json", {})
    assert json.loads(message.body) == sent.event


def test_each_of_several_urls_of_a_host_has_a_name_that_no_other_host_has(agent_with):
    agent = agent_with(url="http://hook/a http://hook/b http://hook-2/")
    assert [each.name for each in agent.send("killswitch.engaged").deliveries] == ["hook", "hook-3", "hook-2"]


def test_each_url_has_deliveries_of_its_own(agent_with):
    agent = agent_with(url="https://a.test/T0KEN https://b.test:8443/x\nhttp://a.test/y https://[::1]/")
    sent = agent.send("killswitch.engaged")
    assert [each.name for each in sent.deliveries] == ["a.test", "b.test", "a.test-2", "--1"]
    assert len(sent.messages) == 4


@pytest.mark.parametrize(
    ("settings", "is_sent"),
    [
        ({}, True),
        ({"events": "experiment.execution.failed"}, True),
        ({"events": "experiment.execution.created,killswitch.*"}, False),
        ({"teams": "ADM"}, True),
        ({"teams": "SHOP, Administrators"}, True),
        ({"teams": "SHOP"}, False),
        ({"environments": "Production"}, True),
        ({"environments": "Staging"}, False),
        ({"teams": "ADM", "environments": "Staging"}, False),
    ],
)
def test_only_chosen_events_are_sent(agent_with, settings, is_sent):
    agent = agent_with(**settings)
    team, environment = {"key": "ADM", "name": "Administrators"}, {"name": "Production"}
    sent = agent.send("experiment.execution.failed", team=team, environment=environment)
    assert len(sent.messages) == is_sent
    assert all(each.status == "delivered" for each in sent.deliveries)


def test_events_without_a_team_are_not_those_of_a_team(agent_with):
    event = agent_with().factory.event("killswitch.engaged") | {"team": None, "environment": None}
    assert len(agent_with().send(event).messages) == 1
    assert agent_with(teams="ADM").send(event).messages == []


class TestTemplates:
    def test_texts_in_json_are_escaped(self, agent_with):
        agent = agent_with('{"text": "{{ run.name }} failed", "tags": {{ [event.name] | tojson }}}')
        (message,) = agent.send("experiment.execution.failed", name='Kill "all"\n').messages
        assert json.loads(message.body) == {"text": 'Kill "all"\n failed', "tags": ["experiment.execution.failed"]}

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [("text/plain; charset=utf-8", 'ä <"b">'), ("text/html", "ä &lt;&#34;b&#34;&gt;")],
    )
    def test_other_bodies_have_their_own_form(self, agent_with, content_type, body):
        agent = agent_with("{{ run.name }}", content_type=content_type)
        (message,) = agent.send("experiment.execution.failed", name='ä <"b">').messages
        assert (message.body.decode(), message.content_type) == (body, content_type)

    @pytest.mark.parametrize(
        ("template", "error"),
        [
            ('\n{"a": "{{ data.nope.more }}"}', "TEMPLATE_FILE, line 2: "),
            ('{"a": {{ run.name }}}', "TEMPLATE_FILE makes no JSON of this event: Expecting value: line 1"),
            ("{% for x in range(99999) %}{% for y in range(99999) %}{% endfor %}{% endfor %}", "too much work"),
        ],
    )
    def test_one_that_fails_on_an_event_is_a_dead_letter_at_once(self, agent_with, template, error):
        sent = agent_with(template).send("experiment.execution.failed")
        (delivery,) = sent.deliveries
        assert (delivery.status, delivery.attempts) == ("dead", 1)
        assert error in delivery.error
        assert sent.messages == []


class TestCloudEvents:
    @pytest.mark.parametrize("form", ["cloudevents", "cloudevents-binary"])
    def test_are_read_by_the_library(self, agent_with, form):
        agent = agent_with(format=form)
        sent = agent.send("experiment.execution.failed", experiment_key="SHOP-7", execution_id=34, name="Zürich 🎉")
        (message,) = sent.messages
        headers = {"content-type": message.content_type, **message.headers}
        found = from_http_event(HTTPMessage(headers, message.body))
        assert found.get_id() == message.id == sent.event["id"]
        assert found.get_source() == f"/steadybit/{sent.event['tenant']['key']}"
        assert (found.get_type(), found.get_subject()) == ("experiment.execution.failed", "SHOP-7/34")
        assert found.get_specversion() == "1.0"
        assert found.get_time().isoformat() == sent.event["eventTime"].replace("Z", "+00:00")
        assert found.get_data() == sent.event

    def test_attributes_are_in_headers_or_in_the_body(self, agent_with):
        (structured,) = agent_with(format="cloudevents").send("killswitch.engaged").messages
        assert (structured.content_type, structured.headers) == ("application/cloudevents+json", {})
        (binary,) = agent_with(format="cloudevents-binary").send("killswitch.engaged").messages
        assert binary.content_type == "application/json"
        assert binary.headers["ce-type"] == "killswitch.engaged"
        assert "ce-subject" not in binary.headers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": ""}, "EXTENSION_WEBHOOK_URL is not set: write the URL"),
        ({"url": "hush.test/T0KEN"}, "EXTENSION_WEBHOOK_URL"),
        ({"url": "https://user:hush@a.test/"}, "EXTENSION_WEBHOOK_URL"),
        ({"url": "https://a.test/ ftp://hush.test"}, "EXTENSION_WEBHOOK_URL"),
        ({"events": "run.."}, "EXTENSION_WEBHOOK_EVENTS"),
        ({"format": "xml"}, "raw, template, cloudevents or cloudevents-binary"),
        ({"format": "template"}, "EXTENSION_WEBHOOK_TEMPLATE_FILE is not set"),
        ({"template_file": "/none"}, "the path of a readable text file"),
        ({"template_file": __file__}, "set EXTENSION_WEBHOOK_FORMAT=template"),
        ({"content_type": "text/plain"}, "EXTENSION_WEBHOOK_CONTENT_TYPE has no use in the format raw: leave it out"),
        ({"template": "{{ x", "content_type": "json"}, "EXTENSION_WEBHOOK_CONTENT_TYPE"),
        ({"template": "a\n{{ x"}, "the template of EXTENSION_WEBHOOK_TEMPLATE_FILE is not a template: line 2: "),
        ({"template": "{{ nope }}"}, "uses nope: the variables of a template are event, data, run, step, target"),
        ({"secret": "hush"}, 'the target of receiver.test: secret: A secret is "whsec_" and 24 to 64 bytes in base64'),
        ({"headers": "hush"}, "Name: value, separated by semicolons, or one per line"),
        ({"headers": "X-A: hush\r\nX-B"}, "Name: value, separated by semicolons, or one per line"),
        ({"headers": "Host: hush"}, "the target of receiver.test: headers: Host is set by the sender."),
        ({"headers": "webhook-id: hush"}, "webhook-id is set by the sender."),
    ],
)
def test_wrong_settings_end_the_start_in_one_line(agent_with, settings, message):
    with pytest.raises(ConfigurationError) as refused:
        agent_with(**settings)
    text = str(refused.value)
    assert message in text
    assert "hush" not in text
    assert "T0KEN" not in text
    assert "\n" not in text


@pytest.mark.parametrize("given", ["Authorization: Bearer a=b, c; X-Own:1", "Authorization: Bearer a=b, c\nX-Own: 1\n"])
def test_headers_are_given_in_a_line_or_in_lines(agent_with, given):
    agent_with(headers=given)
    assert webhook.extension.settings.headers == (("Authorization", "Bearer a=b, c"), ("X-Own", "1"))
    assert "Bearer" not in repr(webhook.extension.settings)
