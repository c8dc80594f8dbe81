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


class Due(NamedTuple):
    """Deliveries of a listener that are due.

    Attributes:
        listener: key of the listener, or the label of several.
        number: of due deliveries, those that are being attempted included; at most 10,000.
        oldest: seconds for which the oldest has waited for a worker; 0 if none waits.
    """

    listener: str
    number: int
    oldest: float


class Room(NamedTuple):
    """Room of the database, in bytes.

    Attributes:
        used: bytes that it takes on the disk.
        limit: bytes above which old events are deleted (``EXTENSION_RETENTION_MEGABYTES``).
        free: bytes that are left on the disk of a SQLite file; None: PostgreSQL.
    """

    used: int
    limit: int
    free: int | None


class Backlog(NamedTuple):
    """Deliveries that wait for their next attempt, or are in one, and events that are not filed yet.

    Beside them are the workers, the receivers that get no attempt for a while, and the room of the database.
    """

    waiting: int
    oldest: float
    """Seconds since the oldest of the deliveries was created; 0 if there is none."""
    unfiled: int = 0
    oldest_unfiled: float = 0.0
    """Seconds since the oldest of the events was received; 0 if there is none."""
    due: tuple[Due, ...] = ()
    workers: int = 0
    open_circuits: int = 0
    room: Room | None = None


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
            yield from _due(backlog.due)
            yield from _beside(backlog)


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


def _due(due: Iterable[Due]) -> Iterator["Metric"]:
    from prometheus_client.metrics_core import GaugeMetricFamily

    number = GaugeMetricFamily(
        "extension_deliveries_due",
        "Deliveries whose time has come, or that are being attempted, counted up to 10,000 for each listener.",
        labels=("listener",),
    )
    oldest = GaugeMetricFamily(
        "extension_oldest_due_seconds",
        "Seconds for which the oldest of the due deliveries has waited for a worker.",
        labels=("listener",),
    )
    for each in due:
        number.add_metric((each.listener,), each.number)
        oldest.add_metric((each.listener,), each.oldest)
    yield number
    yield oldest


def _beside(backlog: Backlog) -> Iterator["Metric"]:
    from prometheus_client.metrics_core import GaugeMetricFamily

    living = "Workers that gave a sign of life in the last 20 seconds."
    yield GaugeMetricFamily("extension_workers", living, backlog.workers)
    resting = "Receivers that get no attempt for a while, because they failed or are not ready."
    yield GaugeMetricFamily("extension_open_circuits", resting, backlog.open_circuits)
    if room := backlog.room:
        yield GaugeMetricFamily("extension_database_bytes", "Bytes that the database takes on its disk.", room.used)
        limit = "Bytes above which old events are deleted (EXTENSION_RETENTION_MEGABYTES)."
        yield GaugeMetricFamily("extension_database_limit_bytes", limit, room.limit)
        if room.free is not None:
            free = "Bytes that are left on the disk of the SQLite file."
            yield GaugeMetricFamily("extension_database_free_bytes", free, room.free)


def _said(status: int, text: str) -> Page:
    return Page(status, "text/plain; charset=utf-8", f"{text}\n".encode())
