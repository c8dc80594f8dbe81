"""The page that Prometheus reads."""

import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from extension_kit.observability.metrics import DIRECTORY, REQUEST_SECONDS, is_installed

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

logger = logging.getLogger("extension_kit.metrics")

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Backlog(NamedTuple):
    """The deliveries that wait for their next attempt, or are in one."""

    waiting: int
    oldest: float
    """Seconds since the oldest of them came in; 0 where there is none."""


ReadBacklog = Callable[[], Backlog | None]
"""Finds the backlog within seconds; None where there is nothing that could wait, or it cannot be found out."""


def no_backlog() -> None:
    """The backlog where there are no durable listeners."""


class Page(NamedTuple):
    """What is answered at ``/metrics``."""

    status: int
    content_type: str
    body: bytes


def page(read_backlog: ReadBacklog) -> Page:
    """Make the page: the numbers of all processes that share a directory, else those of this one."""
    if not is_installed():
        return _said(404, "There are no metrics: pip install 'extension-kit[metrics]'")
    from prometheus_client import generate_latest

    try:
        return Page(200, _CONTENT_TYPE, generate_latest(_Shown(read_backlog)))
    except Exception:
        logger.exception("the metrics cannot be shown")
        return _said(500, "The metrics cannot be shown; the log of the extension says why.")


class _Shown:
    """What is on the page, as the library's collectors give it."""

    def __init__(self, read_backlog: ReadBacklog) -> None:
        self._read_backlog = read_backlog

    def collect(self) -> Iterator["Metric"]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        for metric in _counted().collect():
            yield metric
            if metric.name == REQUEST_SECONDS:
                yield from _events(metric)
        if backlog := self._read_backlog():
            waiting = "Deliveries that wait for their next attempt, or are in one."
            yield GaugeMetricFamily("extension_deliveries_waiting", waiting, backlog.waiting)
            age = "Seconds since the oldest of the waiting deliveries came in."
            yield GaugeMetricFamily("extension_deliveries_oldest_waiting_seconds", age, backlog.oldest)


def _counted() -> "Collector":
    if DIRECTORY in os.environ:
        from prometheus_client.multiprocess import MultiProcessCollector

        return MultiProcessCollector(None)  # type: ignore[no-untyped-call]
    from prometheus_client import REGISTRY

    return REGISTRY


def _events(requests: "Metric") -> Iterator["Metric"]:
    from prometheus_client.metrics_core import CounterMetricFamily

    labels = ("path", "status")
    received = CounterMetricFamily("extension_events_received", "Events by the status of their answer.", labels=labels)
    refused = CounterMetricFamily("extension_events_refused", "Events that their sender has to mend.", labels=labels)
    for sample in requests.samples:
        if sample.name == f"{REQUEST_SECONDS}_count":
            path, status = (sample.labels[label] for label in labels)
            if " " in path:  # a protocol's, whose requests are not all events
                continue
            received.add_metric((path, status), sample.value)
            if status.startswith("4"):
                refused.add_metric((path, status), sample.value)
    yield received
    yield refused


def _said(status: int, text: str) -> Page:
    return Page(status, "text/plain; charset=utf-8", f"{text}\n".encode())
