"""Metrics for Prometheus, made of the sums of ended runs and steps and of the keys of running ones."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from .keys import Labels, Numbers, of_kind, read_key

RUNS, STEPS, RUNNING, SECONDS, ALL_SECONDS = "runs", "steps", "running", "seconds", "all-seconds"
"""Kinds of keys: ended runs, ended steps, running runs, ended runs by duration, and seconds of all ended runs."""

RUN_STATES = ("completed", "failed", "errored", "canceled")
STEP_STATES = (*RUN_STATES, "skipped")

_BUCKETS = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, math.inf)  # seconds


def bucket_of(seconds: float) -> str:
    """Return the name of the smallest bucket for a duration."""
    return _name(_BUCKETS[bisect_left(_BUCKETS, seconds)])


def make_families(names: Sequence[str], sums: Mapping[str, float], running: Iterable[str]) -> list[Metric]:
    """Make the metrics.

    Args:
        names: names of labels.
        sums: the sums by key.
        running: keys of running runs.
    """
    runs, steps = of_kind(sums, RUNS, names), of_kind(sums, STEPS, names)
    now = Counter(labels for _, labels, _ in map(read_key, running) if [name for name, _ in labels] == list(names))
    everyone: set[Labels] = {*runs, *steps, *now} | (set() if names else {()})
    sorted_labels = sorted(everyone)
    return [
        _runs(names, sorted_labels, runs),
        _durations(names, sums),
        _running(names, sorted_labels, now),
        _steps(names, steps),
    ]


def _runs(names: Sequence[str], everyone: Sequence[Labels], runs: Numbers) -> Metric:
    family = CounterMetricFamily("experiment_runs", "Experiment runs that ended.", labels=[*names, "state"])
    for labels in everyone:
        for state in RUN_STATES:  # also those at 0: a counter that first appears as 1 is no increase to Prometheus
            family.add_metric([*_values(labels), state], runs.get(labels, {}).get((state,), 0.0))
    return family


def _durations(names: Sequence[str], sums: Mapping[str, float]) -> Metric:
    family = HistogramMetricFamily("experiment_run_seconds", "Seconds from start to end of a run.", labels=names)
    totals = of_kind(sums, ALL_SECONDS, names)
    for labels, by_bucket in sorted(of_kind(sums, SECONDS, names).items()):
        below, buckets = 0.0, []
        for bucket in _BUCKETS:
            below += by_bucket.get((_name(bucket),), 0.0)
            buckets.append((_name(bucket), below))
        family.add_metric(_values(labels), buckets, totals.get(labels, {}).get((), 0.0))
    return family


def _running(names: Sequence[str], everyone: Sequence[Labels], now: Mapping[Labels, int]) -> Metric:
    family = GaugeMetricFamily("experiment_runs_running", "Experiment runs that have not ended.", labels=names)
    for labels in everyone:
        family.add_metric(_values(labels), now.get(labels, 0))
    return family


def _steps(names: Sequence[str], steps: Numbers) -> Metric:
    family = CounterMetricFamily("experiment_steps", "Steps that ended.", labels=[*names, "kind", "state"])
    for labels, numbers in sorted(steps.items()):
        for kind in sorted({kind for kind, _ in numbers}):
            for state in STEP_STATES:
                family.add_metric([*_values(labels), kind, state], numbers.get((kind, state), 0.0))
    return family


def _values(labels: Labels) -> list[str]:
    return [value for _, value in labels]


def _name(bucket: float) -> str:
    return "+Inf" if math.isinf(bucket) else str(bucket)
