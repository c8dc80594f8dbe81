"""Annotations as Grafana has them after events, and after answers that were lost."""

import json
from datetime import datetime

import pytest

from extension_kit import SettingError
from tests.support.grafana import Grafana

PREFIX = "experiment.execution."


def milliseconds(text):
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.fixture
def run(agent):
    """The events of a failed run with two steps."""
    return list(agent.factory.run(outcome="failed", steps=2))


def part(event):
    return event.get("experimentExecution") or event["experimentStepExecution"]


def named(events, name):
    return [event for event in events if event["eventName"] == PREFIX + name]


class TestRun:
    def test_it_begins_with_a_point_and_ends_as_a_region(self, agent, grafana, run):
        (created,) = named(run, "created")
        agent.send(created)
        (annotation,) = grafana.found()
        started = milliseconds(part(created)["startedTime"])
        assert (annotation["time"], annotation["timeEnd"]) == (started, started)
        assert annotation["text"] == f"Experiment {part(created)['experimentKey']}: {part(created)['name']}"
        assert "state:created" in annotation["tags"]

        (failed,) = named(run, "failed")
        agent.send(failed)
        (annotation,) = grafana.found()
        ended = milliseconds(part(failed)["endedTime"])
        assert (annotation["time"], annotation["timeEnd"]) == (started, ended)
        assert annotation["text"].startswith(
            f"Experiment {part(created)['experimentKey']}: {part(created)['name']} failed after "
        )
        assert annotation["text"].endswith(f" seconds ({part(failed)['reason']})")
        assert annotation["tags"][:6] == [
            "source:Steadybit",
            "kind:run",
            f"exec_id:{part(created)['executionId']}",
            f"exp_key:{part(created)['experimentKey']}",
            "tenant_key:exmpl",
            "state:failed",
        ]

    def test_steps_are_annotated_where_the_settings_say_so(self, agent, grafana, run):
        agent.play(run)
        steps = {part(event)["id"]: part(event) for event in named(run, "step-completed") + named(run, "step-failed")}
        assert steps
        assert len(grafana.found()) == 1 + len(steps)
        for step_id, step in steps.items():
            (annotation,) = grafana.found("kind:step", f"step_id:{step_id}")
            assert annotation["time"] == milliseconds(step["startedTime"])
            assert annotation["timeEnd"] == milliseconds(step["endedTime"])
            assert f"state:{step['state']}" in annotation["tags"]
            assert annotation["text"].startswith("Step ")
        assert grafana.methods() == ["POST", *["GET", "POST", "PATCH"] * len(steps), "PATCH"]

    def test_steps_are_left_out_otherwise(self, make_agent, grafana, run):
        agent = make_agent()
        (listener,) = agent.registration["eventListeners"]
        assert set(listener["listenTo"]) == {
            PREFIX + word for word in ("created", "completed", "failed", "canceled", "errored")
        }
        agent.play(run)
        assert len(grafana.found()) == 1
        assert grafana.methods() == ["POST", "PATCH"]

    def test_a_run_without_a_start_gets_both_times_at_its_end(self, agent, grafana, run):
        (failed,) = named(run, "failed")
        agent.send(failed)
        (annotation,) = grafana.found()
        assert annotation["time"] == milliseconds(part(failed)["startedTime"])
        assert annotation["timeEnd"] == milliseconds(part(failed)["endedTime"])
        assert grafana.methods() == ["GET", "POST"]

    def test_the_first_event_seen_may_be_one_of_a_step(self, agent, grafana, run):
        agent.play([event for event in run if event not in named(run, "created")])
        (annotation,) = grafana.found("kind:run")
        (failed,) = named(run, "failed")
        assert annotation["time"] == milliseconds(part(failed)["startedTime"])
        assert part(failed)["name"] in annotation["text"]

    def test_a_start_that_comes_late_changes_nothing(self, agent, grafana, run):
        agent.play(run)
        before = grafana.found()
        late = [
            {**event, "id": f"late {event['id']}"} for event in [*named(run, "created"), *named(run, "step-started")]
        ]
        sent = agent.play(late)
        assert {delivery.status for each in sent for delivery in each.deliveries} == {"delivered"}
        assert grafana.found() == before

    def test_an_event_without_times_is_annotated_now(self, agent, grafana, event):
        created = event(PREFIX + "created", started_time=None, event_time=None)
        failed = event(PREFIX + "failed", started_time=None, ended_time=None, event_time="0001-01-01T00:00:00Z")
        agent.send(created)
        agent.send({**failed, "experimentExecution": {**part(failed), "executionId": part(created)["executionId"]}})
        assert all(each["timeEnd"] >= each["time"] > 1_700_000_000_000 for each in grafana.found())

    def test_runs_of_several_tenants_are_not_mixed(self, agent, grafana, run):
        others = [json.loads(json.dumps(each)) for each in run]
        for number, each in enumerate(others):
            each.update(id=f"other-{number}", tenant={"key": "other", "name": "Other"})
        agent.play([event for pair in zip(run, others, strict=True) for event in pair])
        assert len(grafana.found("kind:run", "tenant_key:exmpl")) == 1
        assert len(grafana.found("kind:run", "tenant_key:other")) == 1

    def test_the_recorded_event_of_a_step_has_both_times(self, agent, grafana, fixture_body):
        agent.send(json.loads(fixture_body("extension-grafana-1.json")))
        (step,) = grafana.found("kind:step")
        assert (step["time"], step["timeEnd"]) == (1721289600000, 1721293200000)
        assert step["text"] == "Step some_action_id ended after 3600.00 seconds"
        assert "env:gateway" in step["tags"]


class TestLostAnswers:
    @pytest.mark.parametrize("method", ["POST", "PATCH", "GET"])
    def test_there_is_never_a_second_annotation(self, agent, grafana, run, method):
        lost = set()

        def loses_each_once(request):
            is_first = request.method == method and (request.path, request.body) not in lost
            lost.add((request.path, request.body))
            return is_first

        grafana.loses_answer = loses_each_once
        sent = agent.play(run)
        assert {delivery.status for each in sent for delivery in each.deliveries} == {"delivered"}
        assert len(grafana.found("kind:run")) == 1
        assert len({tuple(each["tags"][:6]) for each in grafana.found()}) == len(grafana.found())
        assert all(each["timeEnd"] > each["time"] for each in grafana.found())
        if method != "GET":
            assert lost

    def test_an_end_finds_the_annotation_of_a_start_that_was_given_up(self, agent, grafana, run):
        def refuses_after_the_change(request):
            if request.method != "POST":
                return None
            grafana.handle(request)
            return b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n"

        grafana.before = refuses_after_the_change
        (started,) = agent.play(named(run, "created"))
        assert started.deliveries[0].status == "dead"
        grafana.before = lambda request: None
        agent.play(named(run, "failed"))
        (annotation,) = grafana.found()
        assert annotation["timeEnd"] > annotation["time"]

    def test_the_start_of_a_step_that_a_killed_worker_does_not_know_to_have_made_is_found(
        self, agent, make_agent, grafana, run
    ):
        agent.play(named(run, "created") + (started := named(run, "step-started")))
        make_agent(STEPS="true").play(started)
        assert len(grafana.found("kind:step")) == len(started) > 0

    @pytest.mark.parametrize("hides_missing", [False, True])
    def test_an_annotation_that_was_removed_is_made_anew_at_the_end(self, agent, grafana, run, hides_missing):
        grafana.hides_missing = hides_missing
        agent.play(named(run, "created"))
        grafana.annotations.clear()
        agent.play(named(run, "failed"))
        (annotation,) = grafana.found()
        assert annotation["timeEnd"] > annotation["time"]
        assert [method for method in grafana.methods() if method != "GET"] == ["POST", "PATCH", "POST"]

    def test_an_end_waits_while_the_token_may_not_change_annotations(self, agent, grafana, run):
        agent.play(named(run, "created"))
        grafana.permissions.remove("annotations:write")
        (sent,) = agent.play(named(run, "failed"))
        assert [each.status for each in sent.deliveries] == ["waiting"]
        assert "refuses PATCH with this token (403)" in sent.deliveries[0].error
        assert len(grafana.found()) == 1


HOSTILE = {
    "colons and quotes": 'a:b:c "d" \\ e, f',
    "long": "x" * 5000,
    "long and wide": "\N{SNOWMAN}" * 5000,
    "line breaks": "a\nb\r\n\tc\x00d",
    "empty": "",
    "spaces": "   ",
    "HTML": "<img src=x onerror=alert(1)>",
}


class TestLimits:
    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
    def test_tags_and_texts_of_any_names_are_accepted_and_found_again(self, make_agent, grafana, event, text):
        agent = make_agent(STEPS="true", TAGS=f"{'own' * 10}:{'x' * 90},chaos")
        common = {"team": {"id": "1", "key": text, "name": text}, "environment": {"id": "1", "name": text}}
        tenant = {"tenant": {"key": text, "name": text}}
        ids = {"experiment_key": text, "execution_id": 7}
        events = [
            event(PREFIX + "created", **ids, name=text, **common, **tenant),
            event(
                PREFIX + "step-started", **ids, custom_label=text, action_name=text, action_id=text, **common, **tenant
            ),
            event(PREFIX + "failed", **ids, name=text, reason=text, **common, **tenant),
        ]
        lost = []
        grafana.loses_answer = lambda request: request.method == "POST" and not lost.append(1) and len(lost) % 2
        sent = agent.play(events)
        assert {delivery.status for each in sent for delivery in each.deliveries} == {"delivered"}
        assert len(grafana.found("kind:run")) == len(grafana.found("kind:step")) == 1
        assert "chaos" in grafana.found("kind:run")[0]["tags"]
        assert all("<" not in each["text"] and len(each["text"]) <= 4000 for each in grafana.found())

    def test_no_variables_properties_addresses_or_attributes_are_sent(self, agent, grafana, event):
        variables = {"variables": {"password": "hush-hush"}, "properties": {"ticket": "hush-hush"}}
        agent.send(event(PREFIX + "created", **variables, principal={"email": "hush-hush@example.com"}))
        assert "hush-hush" not in json.dumps(grafana.found())


class TestSettings:
    def test_a_dashboard_and_a_panel(self, make_agent, grafana, run):
        make_agent(DASHBOARD="uid-1", PANEL="4").play(run)
        (annotation,) = grafana.found()
        assert (annotation["dashboardUID"], annotation["panelId"]) == ("uid-1", 4)

    def test_a_grafana_below_a_path(self, make_agent, run):
        below = Grafana(prefix="/monitoring")
        below.start()
        try:
            make_agent(URL=f"{below.url}/").play(run)
        finally:
            below.stop()
        (annotation,) = below.found()
        assert annotation["timeEnd"] > annotation["time"]

    def test_own_tags(self, make_agent, grafana, run):
        make_agent(TAGS="chaos, cluster:prod").play(run)
        assert {"chaos", "cluster:prod"} <= set(grafana.found()[0]["tags"])

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"URL": ""}, "EXTENSION_GRAFANA_URL is not set: write the address of Grafana"),
            ({"URL": "http://user:hush@grafana"}, "EXTENSION_GRAFANA_URL cannot be used: it has a user name"),
            ({"URL": "http://grafana?a=hush"}, "EXTENSION_GRAFANA_URL cannot be used: a URL such as"),
            ({"TOKEN": ""}, "EXTENSION_GRAFANA_TOKEN is not set: write the token of a service account"),
            ({"TOKEN": "hush hush"}, "EXTENSION_GRAFANA_TOKEN cannot be used: "),
            ({"PANEL": "4"}, "EXTENSION_GRAFANA_PANEL needs EXTENSION_GRAFANA_DASHBOARD"),
            ({"TAGS": "x" * 151}, "EXTENSION_GRAFANA_TAGS is too long"),
        ],
    )
    def test_bad_settings_are_refused(self, make_agent, settings, message):
        with pytest.raises(SettingError) as refused:
            make_agent(**settings)
        assert str(refused.value).startswith(message)
        assert "hush" not in str(refused.value)
