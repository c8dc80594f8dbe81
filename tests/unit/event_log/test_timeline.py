"""The time line of a run."""

from extension_kit.agent.factory import EventFactory
from extension_kit.event_log.timeline import WIDTH, draw
from extension_kit.events.event import Event


def at(seconds):
    return None if seconds is None else f"2026-11-21T12:00:{seconds:02}Z"


def event(name, **parts):
    return Event.from_body({"eventName": f"experiment.execution.{name}", **parts})


def run(state, begin=None, end=None, **more):
    times = {"startedTime": at(begin), "endedTime": at(end)}
    return {"experimentExecution": {"experimentKey": "ADM-4", "executionId": 1, "state": state, **times, **more}}


def step(id, state, begin=None, end=None, **more):
    times = {"startedTime": at(begin), "endedTime": at(end)}
    return {"experimentStepExecution": {"id": id, "state": state, "type": "action", **times, **more}}


def target(id, of_step, state, begin=None, end=None):
    times = {"startedTime": at(begin), "endedTime": at(end)}
    labels = {"targetAttributes": {"steadybit.label": [f"host {id}"]}}
    return {"experimentStepTargetExecution": {"id": id, "stepExecutionId": of_step, "state": state, **times, **labels}}


def test_steps_and_targets_have_their_times_and_last_states():
    line = draw(
        [
            event("created", **run("created", name="Kill a pod")),
            event("step-started", **step("s1", "running", 10, customLabel="Stop it")),
            event("target-started", **target("t1", "s1", "running", 11)),
            event("target-completed", **target("t1", "s1", "completed", 11, 20)),
            event("step-completed", **step("s1", "completed", 10, 20)),
            event("step-started", **step("s2", "running", 20, actionName="Wait")),
            event("failed", **run("FAILED", 0, 40, reason="timed out")),
        ],
        "ADM-4/1",
    )

    assert [(row.span.kind, row.span.label, row.span.state) for row in line.rows] == [
        ("run", "Kill a pod", "failed"),
        ("step", "Stop it", "completed"),
        ("target", "host t1", "completed"),
        ("step", "Wait", "running"),
    ]
    assert [(row.x, row.width) for row in line.rows] == [
        (0, WIDTH),
        (0.25 * WIDTH, 0.25 * WIDTH),
        (0.275 * WIDTH, 0.225 * WIDTH),
        (0.5 * WIDTH, 0.5 * WIDTH),
    ]
    assert line.run.reason == "timed out"
    assert [row.span.duration and row.span.duration.total_seconds() for row in line.rows] == [40, 10, 9, None]


def test_a_target_may_come_before_its_step():
    line = draw(
        [
            event("target-started", **target("t1", "s1", "running", 11)),
            event("step-started", **step("s1", "running", 10, actionName="Stop it")),
        ],
        "ADM-4/1",
    )

    assert [(row.span.label, row.x is None) for row in line.rows] == [
        ("ADM-4/1", True),
        ("Stop it", False),
        ("host t1", False),
    ]


def test_nothing_is_drawn_before_anything_has_started():
    assert [row.x for row in draw([event("created", **run("created"))], "ADM-4/1").rows] == [None]


def test_made_up_runs_can_be_drawn():
    line = draw([Event.from_body(body) for body in EventFactory(seed=5).run(steps=5)], "x")
    assert len(line.rows) > 5
    assert all(row.x is None or (row.x >= 0 and row.x + row.width <= WIDTH + 0.1) for row in line.rows)
