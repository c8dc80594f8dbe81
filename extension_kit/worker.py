"""``extension-kit worker``: a process that makes the deliveries of durable listeners and subscriptions."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType

from extension_kit.engine.liveness import Liveness
from extension_kit.errors import ConfigurationError, RegistrationError
from extension_kit.loading import open_service
from extension_kit.observability import logs, metrics
from extension_kit.observability.metrics_page import ReadBacklog
from extension_kit.runtime import gc_tuning
from extension_kit.runtime.stdout import WholeLines
from extension_kit.server import listen
from extension_kit.server.child_process import end_with_parent, shorter
from extension_kit.server.health_port import HealthPort, ReadReasons
from extension_kit.server.worker_process import METRICS_NAME
from extension_kit.settings.declare import FILE_SUFFIX
from extension_kit.settings.environment import idle_variables
from extension_kit.settings.kit import WORKER, Settings

logger = logging.getLogger("extension_kit.deliveries")

_HEALTH_PORT = "STEADYBIT_EXTENSION_HEALTH_PORT"
_CLOSE_TIMEOUT = 5.0  # seconds
_LEAST_END = 1.0  # seconds for the functions that are called after the last delivery


def work(
    targets: Sequence[str], settings: Settings, *, supervisor: int | None = None, liveness_pipe: int | None = None
) -> int:
    """Make deliveries until SIGTERM or SIGINT.

    Args:
        targets: handler files, folders or modules with durable listeners.
        settings: the settings of the kit.
        supervisor: the process id of the server that started this process. The worker ends when that process has
            ended, has a shorter grace period than it, and leaves it the first turn at the CPUs, by its niceness. None:
            the worker has a health port of its own.
        liveness_pipe: where that process reads signs of life.

    Returns:
        The exit code: 128 plus the number of the signal; 1 without a signal, as after a hook that failed.

    Raises:
        ConfigurationError: a setting or target is wrong, or there is no durable listener.
        StoreError: the database cannot be used, or not by a worker.
    """
    logs.configure(settings.log_level, settings.log_format, settings.log_color)
    logs.catch_all()
    sys.stdout = WholeLines(sys.stdout)
    metrics.start(None if supervisor is None else METRICS_NAME)
    if supervisor is not None:
        os.nice(settings.niceness_beside_server)  # before there are other threads: each has its own, and inherits it
        end_with_parent(supervisor)
        settings = replace(settings, grace_period=shorter(settings.grace_period))
    service = open_service(targets, settings)
    runtime = service.runtime
    if runtime is None:
        raise RegistrationError(f"{service.name} has no durable listener, so there are no deliveries for a worker")
    runtime.check_sessions()
    metrics.describe(service.name, service.version, (), [*runtime.keys, metrics.SUBSCRIPTIONS])
    if supervisor is None:
        for line in service.lines:
            logger.info("%s", line)
        for doubt in service.doubts():
            logger.warning("%s", doubt)
        if idle := idle_variables(WORKER):
            logger.debug("%s", idle)  # no warning: servers and workers are run with the same environment
    liveness = Liveness(settings.longest_silence, liveness_pipe, runtime.readiness.reasons)
    worker = runtime.worker(f"worker-{os.getpid()}", liveness.tell)
    received: list[int] = []
    ends_at: list[float] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        ends_at.append(time.monotonic() + settings.grace_period)
        worker.stop()

    def is_wanted() -> bool:
        liveness.tell()
        return not received

    def is_ready() -> bool:
        return not received and bool(runtime.is_deliverable())

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    if supervisor is None and (
        health_port := _health_port(settings, is_ready, runtime.backlog, runtime.readiness.reasons)
    ):
        health_port.start(liveness.is_alive)
    if runtime.worker_hooks.begin(is_wanted):
        runtime.log_orphans()
        runtime.start_periodic_tasks()
        logger.info("Delivery worker started with %d threads", settings.worker_threads)
        gc_tuning.freeze()
        worker.run()
        runtime.worker_hooks.end(max(ends_at[0] - time.monotonic() if ends_at else 0, _LEAST_END))
    else:
        liveness.tell_reasons()
    runtime.close(_CLOSE_TIMEOUT)
    logger.info("Delivery worker stopped")
    return 128 + received[0] if received else 1


def _health_port(
    settings: Settings, is_ready: Callable[[], bool], read_backlog: ReadBacklog, reasons: ReadReasons
) -> HealthPort | None:
    """Bind the health port, or any free port if the default one is in use, most often by a server on this machine.

    Raises:
        ConfigurationError: the port that the environment names cannot be bound.
    """
    try:
        return listen.health_port(settings, is_ready, read_backlog, reasons)
    except ConfigurationError:
        if any(os.environ.get(name) for name in (_HEALTH_PORT, f"{_HEALTH_PORT}{FILE_SUFFIX}")):
            raise
    health_port = listen.health_port(replace(settings, health_port=0), is_ready, read_backlog, reasons)
    if health_port is not None:
        logger.warning(
            "Health port %d is in use, using port %d instead; set %s to choose one",
            settings.health_port,
            health_port.port,
            _HEALTH_PORT,
        )
    return health_port
