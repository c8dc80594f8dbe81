from datetime import datetime

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind, StatusCode

from extension_kit import Event, GiveUp
from extension_kit.testing import EventFactory
from extensions.traces.spans import make_span

RESOURCE = Resource({"service.name": "steadybit"})


def span_of(event_name, /, **changes):
    return make_span(Event.from_body(EventFactory().event(event_name, **changes)), RESOURCE)


def as_nanoseconds(text):
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000) * 1000


def test_the_span_of_a_run_has_its_name_its_times_and_its_result():
    span = span_of(
        "experiment.execution.failed",
        name="A slow payment provider is noticed",
        experiment_key="SHOP-7",
        execution_id=41,
        tenant={"key": "exmpl"},
        started_time="2026-03-02T09:00:00.25Z",
        ended_time="2026-03-02T09:01:30.5Z",
        reason="A check did not hold",
    )
    assert (span.name, span.kind, span.parent) == ("RUN A slow payment provider is noticed", SpanKind.SERVER, None)
    assert span.start_time == as_nanoseconds("2026-03-02T09:00:00.25+00:00")
    assert span.end_time == as_nanoseconds("2026-03-02T09:01:30.5+00:00")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "A check did not hold")
    attributes = dict(span.attributes)
    assert attributes["cicd.pipeline.name"] == attributes["steadybit.experiment.name"]
    assert attributes["cicd.pipeline.run.id"] == "SHOP-7/41"
    assert (attributes["cicd.pipeline.result"], attributes["error.type"]) == ("failure", "failed")
    assert (attributes["steadybit.experiment.key"], attributes["steadybit.execution.id"]) == ("SHOP-7", 41)
    assert attributes["steadybit.tenant.key"] == "exmpl"


@pytest.mark.parametrize(
    ("state", "result", "code"),
    [
        ("completed", "success", StatusCode.UNSET),
        ("failed", "failure", StatusCode.ERROR),
        ("errored", "error", StatusCode.ERROR),
        ("canceled", "cancellation", StatusCode.UNSET),
    ],
)
def test_the_status_follows_the_state(state, result, code):
    for kind, key in (("", "result"), ("step-", "task.run.result"), ("target-", "task.run.result")):
        span = span_of(f"experiment.execution.{kind}{state}")
        assert span.status.status_code is code
        assert span.attributes[f"cicd.pipeline.{key}"] == result
        assert ("error.type" in span.attributes) == (code is StatusCode.ERROR)


def test_spans_of_a_run_nest_in_one_trace():
    ends = [
        make_span(Event.from_body(body), RESOURCE)
        for body in EventFactory(3).run(outcome="completed", steps=3)
        if not body["eventName"].endswith(("-started", "created", "requested"))
    ]
    by_id = {span.context.span_id: span for span in ends}
    assert len(by_id) == len(ends)
    assert len({span.context.trace_id for span in ends}) == 1
    roots = [span for span in ends if span.parent is None]
    assert [span.kind for span in roots] == [SpanKind.SERVER]
    for span in ends:
        depth = 0
        while span.parent is not None:
            parent = by_id[span.parent.span_id]
            assert parent.start_time <= span.start_time <= span.end_time <= parent.end_time
            span, depth = parent, depth + 1
        assert depth <= 2
        assert span is roots[0]


def test_equal_numbers_of_other_tenants_and_experiments_are_other_traces():
    same = {"execution_id": 7, "experiment_key": "ADM-1", "tenant": {"key": "one"}}
    spans = [
        span_of("experiment.execution.completed", **(same | change))
        for change in ({}, {}, {"tenant": {"key": "two"}}, {"experiment_key": "ADM-2"}, {"execution_id": 8})
    ]
    assert spans[0].context == spans[1].context
    assert len({span.context.trace_id for span in spans}) == len({span.context.span_id for span in spans}) == 4


@pytest.mark.parametrize(
    "unset", [None, "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "soon"]
)
def test_the_time_of_the_event_stands_in_for_times_that_are_missing(unset):
    names = ("experiment.execution.step-completed", "experiment.execution.completed")
    for name in names:
        event_time = "2026-03-02T09:00:00Z"
        missing = {"started_time": unset, "ended_time": unset}
        prepared = {"prepared_time": unset} if name == names[1] else {}
        span = span_of(name, event_time=event_time, **missing, **prepared)
        assert span.start_time == span.end_time == as_nanoseconds("2026-03-02T09:00:00+00:00")


def test_a_run_without_its_start_begins_when_it_was_prepared():
    span = span_of(
        "experiment.execution.completed", prepared_time="2026-03-02T08:59:00Z", started_time=None,
        ended_time="2026-03-02T09:00:00Z",
    )  # fmt: skip
    assert span.end_time - span.start_time == 60 * 10**9


def test_a_span_never_ends_before_it_begins():
    span = span_of(
        "experiment.execution.step-failed", started_time="2026-03-02T09:00:05Z", ended_time="2026-03-02T09:00:00Z"
    )
    assert span.start_time == span.end_time


def test_targets_have_the_names_by_which_their_own_traces_are_found():
    span = span_of(
        "experiment.execution.target-completed",
        target_attributes={
            "steadybit.label": ["orders-db-0"],
            "container.id": ["containerd://0a1b"],
            "k8s.namespace": ["shop"],
            "host.hostname": ["one", "two"],
        },
    )
    assert span.name == "orders-db-0"
    assert (span.attributes["container.id"], span.attributes["k8s.namespace.name"]) == ("0a1b", "shop")
    assert "host.name" not in span.attributes  # which of the two is not known


def test_a_skipped_step_is_a_span_without_a_length():
    span = span_of("experiment.execution.step-skipped")
    assert (span.end_time - span.start_time, span.attributes["cicd.pipeline.task.run.result"]) == (0, "skip")


def test_the_name_of_the_event_decides_where_the_state_is_not_that_of_an_end():
    span = span_of("experiment.execution.step-failed", state="running")
    assert (span.status.status_code, span.attributes["steadybit.execution.state"]) == (StatusCode.ERROR, "failed")


def test_long_texts_are_cut():
    span = span_of("experiment.execution.failed", reason="x" * 100_000, name="n" * 100_000)
    assert len(span.status.description) == len(span.attributes["steadybit.execution.reason"]) == 4096
    assert len(span.name) == 4096


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("experiment.execution.completed", {"experiment_execution": None}),
        ("experiment.execution.step-completed", {"experiment_step_execution": {"id": None}}),
        ("experiment.execution.target-completed", {"experiment_step_target_execution": {"stepExecutionId": None}}),
        ("experiment.execution.step-skipped", {"event_time": None}),
    ],
)
def test_without_what_a_span_needs_there_is_none(name, changes):
    with pytest.raises(GiveUp, match="comes without"):
        span_of(name, **changes)
