"""Statistics of experiments: how many run, how they end and how long they take, as metrics for Prometheus.

The numbers are sums in the state of the extension. The end of a run is added in the transaction that ends its delivery,
so it counts once, however often the delivery is attempted and in whichever worker, and the numbers survive restarts.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import Metric

from extension_kit import Event, ExperimentExecution, ExperimentStepExecution, Extension
from extension_kit.protocol import Kind, setting

from .families import ALL_SECONDS, RUN_STATES, RUNNING, RUNS, SECONDS, STEP_STATES, STEPS, bucket_of, make_families
from .keys import Labels, make_key, printable

LABELS = {
    "team": lambda event: event.team and event.team.key,
    "environment": lambda event: event.environment and event.environment.name,
}
OTHER = "other"
STEP_KINDS = ("attack", "check", "load_test", "wait")

_MOST_VALUES = 100  # of a label
_MOST_KEYS = 100_000
_MOST_STEPS = 1000  # of a run that are remembered
_MOST_ID = 16  # characters of the hash of a step's id
_REMEMBERED = 7 * 86_400.0  # seconds since its last event for which a run is: the state has 100,000 keys at most
_LONGEST_RUN = 86_400.0  # seconds after which a run without an end does not count as running


def _labels(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",")))
    if names == ("none",):
        return ()
    if not set(names) <= LABELS.keys():
        raise ValueError(text)
    return tuple(name for name in LABELS if name in names)  # in one order: it is part of keys


@dataclass(frozen=True)
class StatisticsSettings:
    """Settings of the extension."""

    labels: tuple[str, ...] = setting(
        "EXTENSION_STATISTICS_LABELS", ("team",), Kind(_labels, "team, environment, or both with a comma, or none"),
        "Labels of all metrics: the key of the team, the name of the environment. A label has at most "
        f"{_MOST_VALUES} values; teams and environments beyond them are `{OTHER}`.")  # fmt: skip


extension = Extension("extension-statistics", settings=StatisticsSettings)

_PREFIX = "experiment.execution."


@extension.listen_to(
    f"{_PREFIX}created",
    *(f"{_PREFIX}{state}" for state in RUN_STATES),
    *(f"{_PREFIX}step-{state}" for state in STEP_STATES),
    name="statistics",
)
def count(event: Event) -> None:
    """Count a start or an end, unless it was counted before, under another event id or by a replay."""
    if event.series is None:
        return
    run_id = _hash(event.series)[:32]  # a series may be longer than a key
    key = make_key("run", (), run_id)
    known: dict[str, Any] = event.state.get(key, {"ended": [], "running": None})
    state = event.name.removeprefix(_PREFIX).removeprefix("step-")
    if (step := event.experiment_step_execution) is not None:
        _end_step(event, step, state, known["ended"])
    elif (run := event.experiment_execution) is None or "run" in known["ended"]:
        return
    elif state == "created":
        known["running"] = make_key(RUNNING, _labels_of(event), run_id)
        event.state.set(known["running"], True, ttl=_LONGEST_RUN)
    else:
        _end_run(event, run, state, known)
    event.state.set(key, known, ttl=_REMEMBERED)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _end_run(event: Event, run: ExperimentExecution, state: str, known: dict[str, Any]) -> None:
    known["ended"].append("run")
    if known["running"]:
        event.state.delete(known["running"])
    labels = _labels_of(event)
    event.state.add(make_key(RUNS, labels, state))
    started, ended = run.started_time or run.prepared_time, run.ended_time or event.time
    if started is not None and ended is not None:
        seconds = max((ended - started).total_seconds(), 0.0)
        event.state.add(make_key(SECONDS, labels, bucket_of(seconds)))
        event.state.add(make_key(ALL_SECONDS, labels), seconds)


def _end_step(event: Event, step: ExperimentStepExecution, state: str, ended: list[str]) -> None:
    its_id = _hash(str(step.id))[:_MOST_ID]
    if its_id in ended:
        return
    if len(ended) < _MOST_STEPS:
        ended.append(its_id)
    kind = step.action_kind or step.type
    event.state.add(make_key(STEPS, _labels_of(event), kind if kind in STEP_KINDS else OTHER, state))


def _labels_of(event: Event) -> Labels:
    return tuple((name, _bounded(event, name, printable(LABELS[name](event)))) for name in extension.settings.labels)


def _bounded(event: Event, name: str, value: str) -> str:
    """Return the value of a label, or OTHER if the label has as many others as it may have."""
    key, all_keys = make_key("label", ((name, value),)), make_key("label", ((name, ""),))
    if event.state.get(key) is None and len(event.state.keys(all_keys, _MOST_VALUES)) >= _MOST_VALUES:
        return OTHER
    event.state.set(key, True)
    return value


@extension.metrics
def collect() -> list[Metric]:
    """Return the metrics, the same in every worker."""
    running = extension.state.keys(make_key(RUNNING, ()), _MOST_KEYS)
    return make_families(extension.settings.labels, extension.state.sums(limit=_MOST_KEYS), running)
