"""Events as Datadog gets them, held to those of Steadybit's own extension."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from extension_kit import Event, SettingError
from extensions.datadog.events import datadog_event
from extensions.datadog.settings import DatadogSettings

PREFIX = "experiment.execution."


@pytest.fixture
def recorded(fixture_body):
    return lambda name: json.loads(fixture_body(name))


class TestRecorded:
    """Bodies of the other extension's tests, and those that it makes of them."""

    def test_an_attack_on_a_target_is_told_as_by_the_other_extension(self, fixture_body, recorded):
        step, target = fixture_body("extension-datadog-5.json"), fixture_body("extension-datadog-6.json")
        asked = []
        event = Event.from_body(target, find_step=lambda series, step_id: asked.append((series, step_id)) or step)
        assert datadog_event(event) == recorded("extension-datadog-6.expected.json")
        assert set(asked) == {("key/42", "ccf6a26e-588f-446e-8eaa-d16b086e150e")}

    def test_a_target_without_its_step_and_a_step_itself_are_not_told(self, fixture_body):
        for name in ("extension-datadog-5.json", "extension-datadog-6.json"):
            assert datadog_event(Event.from_body(fixture_body(name))) is None

    @pytest.mark.parametrize(
        ("name", "principal"),
        [
            ("extension-datadog-1.json", ["principal_type:user", "principal_username:Pan", "principal_name:Peter"]),
            ("extension-datadog-2.json", ["principal_type:access_token", "principal_name:MyFancyToken"]),
        ],
    )
    def test_the_tags_of_principals(self, recorded, event, name, principal):
        run = event(PREFIX + "created")["experimentExecution"]
        body = datadog_event(Event.from_body({**recorded(name), "experimentExecution": run}))
        assert body["tags"][: 9 + len(principal)] == [
            "source:Steadybit",
            "environment_name:gateway",
            "event_name:experiment.started",
            "event_time:2021-01-01 00:00:00 +0000 UTC",
            "event_id:ccf6a26e-588f-446e-8eaa-d16b086e150e",
            "tenant_name:name",
            "tenant_key:key",
            "team_name:gateway",
            "team_key:test",
            *principal,
        ]


def run_event(event, word, **changes):
    return Event.from_body(
        event(
            PREFIX + word,
            event_time="2026-03-02T09:22:02.5+01:00",
            experiment_key="SHOP-7",
            execution_id=1234567,
            name="Kill a pod",
            prepared_time=None,
            started_time="2026-03-02T08:00:00Z",
            **changes,
        )
    )


class TestRuns:
    def test_a_start(self, event):
        body = datadog_event(run_event(event, "created", hypothesis="It\nholds."))
        tags = body.pop("tags")
        assert body == {
            "title": "Experiment 'SHOP-7' started",
            "text": "%%% \nExperiment `SHOP-7` - `Kill a pod` (execution `1234567`) started.\n %%%",
            "source_type_name": "Steadybit",
            "aggregation_key": "steadybit-execution-1234567",
            "date_happened": 1772439722,
        }
        assert "event_time:2026-03-02 08:22:02.500000 +0000 UTC" in tags
        assert tags[-6:] == [
            "execution_id:1234567",
            "experiment_key:SHOP-7",
            "experiment_name:Kill a pod",
            "execution_state:created",
            "experiment_hypothesis:It holds.",
            "started_time:2026-03-02T08:00:00Z",
        ]

    @pytest.mark.parametrize(
        ("state", "alert_type"),
        [("completed", "success"), ("failed", "error"), ("errored", "error"), ("canceled", "warning")],
    )
    def test_an_end(self, event, state, alert_type):
        body = datadog_event(run_event(event, state, ended_time="2026-03-02T08:00:12.345Z"))
        assert body["title"] == "Experiment 'SHOP-7' ended"
        assert f"(execution `1234567`) ended with state `{state}` after 12.35 seconds.\n" in body["text"]
        assert body["alert_type"] == alert_type
        assert body["tags"][-1] == "ended_time:2026-03-02T08:00:12Z"

    def test_what_is_missing_is_left_out(self, event):
        body = datadog_event(run_event(event, "failed", ended_time=None, hypothesis=None, team=None, environment=None))
        assert "ended with state `failed`." in body["text"]
        assert not [tag for tag in body["tags"] if tag.endswith(":None") or tag.startswith("team_")]


def target_tags(event, **attributes):
    named = {name.replace("__", "/").replace("_", "."): values for name, values in attributes.items()}
    step = event(PREFIX + "step-started", action_kind="attack")
    target = event(PREFIX + "target-started", target_attributes=named)
    body = datadog_event(Event.from_body(target, find_step=lambda series, step_id: json.dumps(step).encode()))
    tags = body["tags"]
    return tags[next(number for number, tag in enumerate(tags) if tag.startswith("started_time:")) + 1 :]


class TestTargets:
    def test_kubernetes(self, event):
        attributes = {
            "k8s.cluster-name": ["prod"],
            "k8s.namespace": ["shop"],
            "k8s.pod.name": ["a", "b"],
            "k8s.deployment": ["checkout"],
            "k8s.pod.label.tags.datadoghq.com/service": ["orders"],
            "k8s.deployment.label.tags.datadoghq.com/service": ["orders"],
            "host.hostname": ["node-1"],
            "container.host": ["node-1"],
            "container.id.stripped": ["abc"],
            "aws.region": ["eu-central-1"],
        }
        assert target_tags(event, **attributes) == [
            "kube_cluster_name:prod",
            "kube_namespace:shop",
            "kube_deployment:checkout",
            "namespace:shop",
            "deployment:checkout",
            "cluster_name:prod",
            "service:orders",
            "host:node-1-prod",
            "container_id:abc",
            "aws_region:eu-central-1",
        ]

    def test_hosts(self, event):
        assert target_tags(event, host_hostname=["a"], application_hostname=["b"]) == ["host:a", "host:b"]
        assert target_tags(event, host_hostname=["a"]) == ["host:a"]
        assert target_tags(event, host_hostname=["a", "b"], k8s_namespace=["shop"]) == []

    @pytest.mark.parametrize("kind", ["check", "load_test", None])
    def test_only_attacks_are_told(self, event, kind):
        step = json.dumps(event(PREFIX + "step-started", action_kind=kind)).encode()
        target = event(PREFIX + "target-started")
        assert datadog_event(Event.from_body(target, find_step=lambda series, step_id: step)) is None


class TestSent:
    def test_a_whole_run(self, agent, datadog):
        run = list(agent.factory.run(outcome="failed", steps=3))
        kinds = {}
        for body in run:
            if step := body.get("experimentStepExecution"):
                kinds[step["id"]] = step.get("actionKind")
        targets = [body["experimentStepTargetExecution"] for body in run if "experimentStepTargetExecution" in body]
        attacked = [target for target in targets if kinds[target["stepExecutionId"]] == "attack"]
        assert attacked
        agent.play(run)
        titles = [event["title"].partition("' ")[2] for event in datadog.events]
        assert titles[0] == "started"
        assert titles[-1] == "ended"
        assert titles.count("- Attack started") == titles.count("- Attack ended") == len(attacked) / 2
        assert {event["aggregation_key"] for event in datadog.events} == {
            f"steadybit-execution-{targets[0]['executionId']}"
        }

    def test_a_time_that_datadog_would_refuse_is_left_out(self, agent, datadog, event):
        now = datetime.now(UTC)
        for hours in (1, 19):
            sent = agent.send(event(PREFIX + "created", event_time=(now - timedelta(hours=hours)).isoformat()))
            assert sent.deliveries[0].status == "delivered"
        recent, old = datadog.events
        assert recent["date_happened"] == int((now - timedelta(hours=1)).timestamp())
        assert "date_happened" not in old

    def test_a_rate_limit_is_heeded(self, agent, datadog, event):
        datadog.limited = 7

        def counts_down(request):
            if len(datadog.requests) > 2:
                datadog.limited = None

        datadog.before = counts_down
        sent = agent.send(event(PREFIX + "created"))
        (delivery,) = sent.deliveries
        assert (delivery.status, delivery.waits) == ("delivered", pytest.approx([7, 7], rel=0.11))
        assert len(datadog.events) == 1

    @pytest.mark.parametrize("text", ["x" * 6000, "a`b` %%% \n# c", "\N{SNOWMAN}" * 6000, ""])
    def test_names_of_any_length_and_form_are_accepted(self, agent, datadog, event, text):
        ids = {"experiment_key": text, "name": text, "hypothesis": text, "tenant": {"key": text, "name": text}}
        sent = agent.send(event(PREFIX + "created", **ids))
        assert sent.deliveries[0].status == "delivered", sent.deliveries
        (body,) = datadog.events
        assert body["text"].count("%%%") == 2
        assert body["text"].count("`") == 6

    def test_no_variables_properties_or_addresses_are_sent(self, agent, datadog, event):
        variables = {"variables": {"password": "hush-hush"}, "properties": {"ticket": "hush-hush"}}
        agent.send(event(PREFIX + "created", **variables, principal={"email": "hush-hush@example.com"}))
        assert "hush-hush" not in json.dumps(datadog.events)

    def test_own_tags(self, make_agent, datadog, event):
        make_agent(TAGS="env:prod, owner:sre").send(event(PREFIX + "created"))
        assert datadog.events[0]["tags"][-2:] == ["env:prod", "owner:sre"]


class TestSettings:
    def test_the_address(self):
        assert DatadogSettings(api_key="key").address == "https://api.datadoghq.com"
        assert DatadogSettings(api_key="key", site="us5.datadoghq.com").address == "https://api.us5.datadoghq.com"
        assert DatadogSettings(api_key="key", url="http://proxy:8080/x").address == "http://proxy:8080/x"

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"API_KEY": ""}, "EXTENSION_DATADOG_API_KEY is not set: write an API key of your organization"),
            ({"API_KEY": "hush hush"}, "EXTENSION_DATADOG_API_KEY cannot be used: "),
            ({"URL": "http://proxy?a=hush"}, "EXTENSION_DATADOG_URL cannot be used: "),
            ({"SITE": "https://datadoghq.com"}, 'EXTENSION_DATADOG_SITE is "https://datadoghq.com": datadoghq.com, '),
            ({"TAGS": "x" * 201}, "EXTENSION_DATADOG_TAGS has a tag of more than 200 characters"),
        ],
    )
    def test_bad_settings_are_refused(self, make_agent, settings, message):
        with pytest.raises(SettingError) as refused:
            make_agent(**settings)
        assert str(refused.value).startswith(message)
        assert "hush" not in str(refused.value)
