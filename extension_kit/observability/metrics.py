"""Metrics for Prometheus: counters, gauges and histograms of a server's processes.

The library is the extra ``metrics``; without it, counting does nothing. The processes of a server share their numbers
through files in a directory (the multiprocess mode of the library). Each change is written at once, so the numbers of a
killed process are kept.
"""

import importlib.metadata
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

from extension_kit.errors import ConfigurationError
from extension_kit.observability import shared_folder

if TYPE_CHECKING:
    from prometheus_client import Histogram

logger = logging.getLogger("extension_kit.metrics")

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the directory, read by the library and by the processes of a server."""

DELIVERED, FAILED, DEAD = "delivered", "failed", "dead"
"""State of a delivery after an attempt: delivered, to be attempted again, given up."""

SUBSCRIPTIONS = "subscription"
"""Label that all subscriptions share in the place of a listener's key, as their number is unbounded."""

REQUEST_SECONDS = "extension_request_seconds"
"""Histogram from which the counters of received and refused events are derived: one write per request, not three."""

_REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_ATTEMPT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class _Children(dict[tuple[str, int], "Histogram"]):
    """Cache of histograms by path and status: ten times faster than the library's own lookup."""

    def __init__(self, histogram: "Histogram") -> None:
        self._histogram = histogram

    def __missing__(self, labels: tuple[str, int]) -> "Histogram":
        child = self[labels] = self._histogram.labels(*labels)
        return child


class _Metrics:
    """All metrics of a process."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self.request_seconds = Histogram(
            REQUEST_SECONDS,
            "Seconds from the head of a request that brings an event to its answer.",
            ("path", "status"),
            buckets=_REQUEST_BUCKETS,
        )
        self.requests = _Children(self.request_seconds)
        self.recorded = Counter("extension_events_recorded", "Events committed for durable listeners.")
        self.commit_seconds = Histogram(
            "extension_commit_seconds", "Seconds that committing a group of events took.", buckets=_COMMIT_BUCKETS
        )
        self.commit_events = Histogram(
            "extension_commit_events", "Events that were committed together.", buckets=_SIZE_BUCKETS
        )
        self.deliveries = Counter(
            "extension_deliveries",
            "Attempts by result: delivered, failed (the delivery is attempted again) or dead (given up).",
            ("listener", "result"),
        )
        self.attempt_seconds = Histogram(
            "extension_delivery_attempt_seconds",
            "Seconds that an attempt took.",
            ("listener",),
            buckets=_ATTEMPT_BUCKETS,
        )
        self.ready = Gauge(
            "extension_ready",
            "1 if deliveries are made to all functions of an extension, 0 if some wait because they are not ready.",
            ("extension",),
            multiprocess_mode="livemin",
        )
        self.pool_waiting = Gauge(
            "extension_pool_waiting", "Events that wait for a thread to run functions.", multiprocess_mode="livesum"
        )
        self.build = Gauge(
            "extension_build_info",
            "Versions of the extension and of the kit.",
            ("name", "version", "kit"),
            multiprocess_mode="livemax",
        )


_metrics: _Metrics | None = None


@cache
def is_installed() -> bool:
    """Return True if the library is installed."""
    return importlib.util.find_spec("prometheus_client") is not None


def start(part: str | None = None) -> None:
    """Start counting in this process if the library is installed.

    Args:
        part: name of this process within its server. A later process with the same name continues its numbers, so that
            restarts do not leave files behind; two processes at the same time must have different names.

    Raises:
        ConfigurationError: the directory named by the environment cannot be used.
    """
    global _metrics
    if _metrics is not None or not is_installed():
        return
    if DIRECTORY in os.environ:
        _use_given_directory()
        if part is not None:
            with suppress(OSError):  # a given directory may be anywhere, and is never removed
                shared_folder.use(os.environ[DIRECTORY])
            from prometheus_client import values

            values.ValueClass = values.MultiProcessValue(_identity(part))  # type: ignore[no-untyped-call]
    _metrics = _Metrics()


def describe(name: str, version: str, paths: Iterable[str], listeners: Iterable[str]) -> None:
    """Set the build info, and start every counter at 0: a counter that first appears as 1 is no increase to Prometheus.

    Args:
        name: name of the extension.
        version: version of the extension.
        paths: paths of event listeners.
        listeners: keys of durable event listeners, and ``SUBSCRIPTIONS`` where there may be some.
    """
    if _metrics is None:
        return
    _metrics.build.labels(name, version, importlib.metadata.version("extension-kit")).set(1)
    for path in paths:
        for status in (200, 503):
            _metrics.request_seconds.labels(path, status)
    for listener in listeners:
        _metrics.attempt_seconds.labels(_bounded(listener))
        for result in (DELIVERED, FAILED, DEAD):
            _metrics.deliveries.labels(_bounded(listener), result)


def answered(path: str, status: int, seconds: float) -> None:
    """Count a request and its seconds. ``path`` is a listener's path, or a protocol's method and path."""
    if _metrics is not None:
        _metrics.requests[path, status].observe(seconds)


def committed(events: int, seconds: float) -> None:
    """Count a commit: its events, and its seconds."""
    if _metrics is not None:
        _metrics.recorded.inc(events)
        _metrics.commit_events.observe(events)
        _metrics.commit_seconds.observe(seconds)


def attempted(listener: str, result: str, seconds: float | None) -> None:
    """Count an attempt: DELIVERED, FAILED or DEAD; ``seconds`` is None if its process was killed."""
    if _metrics is not None:
        _metrics.deliveries.labels(_bounded(listener), result).inc()
        if seconds is not None:
            _metrics.attempt_seconds.labels(_bounded(listener)).observe(seconds)


def ready(extension: str, is_ready: bool) -> None:
    """Set if deliveries are made to all functions of an extension."""
    if _metrics is not None:
        _metrics.ready.labels(extension).set(is_ready)


def pool_waiting(events: int) -> None:
    """Set the number of events that wait for a thread in this process."""
    if _metrics is not None:
        _metrics.pool_waiting.set(events)


@contextmanager
def shared() -> Iterator[None]:
    """Create a directory for the metrics of this process and its children, and remove it at the end.

    A directory named by the environment is used instead, and kept. Enter this context before any import of the library.

    Raises:
        ConfigurationError: the directory named by the environment cannot be used.
    """
    if not is_installed():
        yield
        return
    made = None
    if DIRECTORY in os.environ:
        _use_given_directory()
    elif made := _make_directory():
        os.environ[DIRECTORY] = made
    # Imported now: a process forked while a thread of this one imports would wait for the import for ever.
    import prometheus_client.multiprocess  # noqa: F401

    owner = os.getpid()
    try:
        yield
    finally:
        if made and os.getpid() == owner:  # forked processes come through here, too
            del os.environ[DIRECTORY]
            shutil.rmtree(made, ignore_errors=True)


def ended(part: str) -> None:
    """Remove the gauges of this server's ended process ``part``; its counters are kept."""
    if DIRECTORY in os.environ and is_installed():
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(_name(os.getpid(), part))  # type: ignore[no-untyped-call]


def _bounded(listener: str) -> str:
    return SUBSCRIPTIONS if listener.startswith("subscription:") else listener


def _use_given_directory() -> None:
    directory = os.environ[DIRECTORY]
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{DIRECTORY} is {directory!r}, which cannot be created: {error.strerror}") from None


def _make_directory() -> str | None:
    shared_folder.sweep()
    try:
        return shared_folder.make()
    except OSError as problem:
        logger.warning("Metrics disabled: cannot create a directory for them (%s), set %s", problem, DIRECTORY)
        return None


def _name(server: int, part: str) -> str:
    return f"{server}-{part}"


def _identity(part: str) -> Callable[[], str]:
    """Return the function by which the library names its files; called with every write."""
    name = _name(os.getppid(), part)

    def forked() -> None:
        nonlocal name
        name = str(os.getpid())

    os.register_at_fork(after_in_child=forked)
    return lambda: name
