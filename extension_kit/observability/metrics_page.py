"""Metrics page: the text that Prometheus reads at ``/metrics``."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from extension_kit.observability.metrics import DIRECTORY, REQUEST_SECONDS, is_installed

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

logger = logging.getLogger("extension_kit.metrics")

_PUBLISHED = "extensions.txt"  # in the directory of the processes' numbers

_text = b""

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Backlog(NamedTuple):
    """Deliveries that wait for their next attempt, or are in one, and events that are not filed yet."""

    waiting: int
    oldest: float
    """Seconds since the oldest of the deliveries was created; 0 if there is none."""
    unfiled: int = 0
    oldest_unfiled: float = 0.0
    """Seconds since the oldest of the events was received; 0 if there is none."""


_LATE = 10.0  # seconds


def lateness(backlog: Backlog | None, now: datetime) -> str:
    """Return a sentence for readiness probes if events wait for a worker that files them, else ""."""
    if backlog is None or backlog.oldest_unfiled < _LATE:
        return ""
    since = (now - timedelta(seconds=backlog.oldest_unfiled)).isoformat(timespec="seconds")
    return f"Not filed: {backlog.unfiled} events, the oldest since {since}. See that a worker runs."


ReadBacklog = Callable[[], Backlog | None]
"""Returns the backlog within seconds; None if there are no durable listeners, or it cannot be read."""


def no_backlog() -> None:
    """Return None, the backlog of an extension without durable listeners."""


class Page(NamedTuple):
    """HTTP response of ``/metrics``."""

    status: int
    content_type: str
    body: bytes


def page(read_backlog: ReadBacklog) -> Page:
    """Make the page with the metrics of all processes that share the directory, or of this process alone."""
    if not is_installed():
        return _said(404, "Metrics are not installed: pip install 'extension-kit[metrics]'")
    from prometheus_client import generate_latest

    try:
        return Page(200, _CONTENT_TYPE, generate_latest(_Shown(read_backlog)) + _published())
    except Exception:
        logger.exception("Metrics page failed")
        return _said(500, "The metrics cannot be shown; the log of the extension has the reason.")


def publish(text: bytes) -> None:
    """Show metrics of extensions on the page of all processes that share the directory, in place of those before.

    Args:
        text: in the format of the page; any of these processes may write it, if all would write the same.
    """
    global _text
    if DIRECTORY not in os.environ:
        _text = text
        return
    file = Path(os.environ[DIRECTORY], _PUBLISHED)
    new = file.with_name(f"{_PUBLISHED}.{os.getpid()}")
    new.write_bytes(text)
    new.replace(file)  # at once: another process may be reading


def _published() -> bytes:
    if DIRECTORY not in os.environ:
        return _text
    try:
        return Path(os.environ[DIRECTORY], _PUBLISHED).read_bytes()
    except FileNotFoundError:
        return b""


class _Shown:
    """Collector of all metrics on the page, for the library."""

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
            unfiled = "Events that were accepted and have no deliveries yet."
            yield GaugeMetricFamily("extension_events_unfiled", unfiled, backlog.unfiled)
            age = "Seconds since the oldest of the events without deliveries came in."
            yield GaugeMetricFamily("extension_events_oldest_unfiled_seconds", age, backlog.oldest_unfiled)


def _counted() -> "Collector":
    if DIRECTORY in os.environ:
        return _Files()
    from prometheus_client import REGISTRY

    return REGISTRY


class _Files:
    """Collector of the files of all processes.

    The library creates a file empty and then gives it its size. Its own collector fails on a file that it finds in
    between, which has no numbers yet.
    """

    def collect(self) -> Iterable["Metric"]:
        from prometheus_client.multiprocess import MultiProcessCollector

        with os.scandir(os.environ[DIRECTORY]) as entries:
            files = [entry.path for entry in entries if entry.name.endswith(".db") and _has_content(entry)]
        metrics: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return metrics


def _has_content(file: os.DirEntry[str]) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:  # the gauges of a process that has ended are removed
        return False


def _events(requests: "Metric") -> Iterator["Metric"]:
    from prometheus_client.metrics_core import CounterMetricFamily

    labels = ("path", "status")
    received = CounterMetricFamily("extension_events_received", "Events by the status of their answer.", labels=labels)
    refused = CounterMetricFamily("extension_events_refused", "Events refused with a 4xx status.", labels=labels)
    for sample in requests.samples:
        if sample.name == f"{REQUEST_SECONDS}_count":
            path, status = (sample.labels[label] for label in labels)
            if " " in path:  # a protocol's path: its requests are not all events
                continue
            received.add_metric((path, status), sample.value)
            if status.startswith("4"):
                refused.add_metric((path, status), sample.value)
    yield received
    yield refused


def _said(status: int, text: str) -> Page:
    return Page(status, "text/plain; charset=utf-8", f"{text}\n".encode())
