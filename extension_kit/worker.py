"""``extension-kit worker``: makes the deliveries of durable listeners, in a process of its own."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from extension_kit import binding, logs, metrics
from extension_kit.deliverer import PART
from extension_kit.errors import RegistrationError
from extension_kit.loading import load_extensions
from extension_kit.service import Service
from extension_kit.settings import Settings
from extension_kit.whole_lines import WholeLines

logger = logging.getLogger("extension_kit.deliveries")

_PARENT_CHECK = 1.0


def work(targets: Sequence[str], settings: Settings, *, supervised: bool) -> int:
    """Make deliveries until a signal ends it.

    Args:
        targets: handler files, folders or modules with durable listeners.
        settings: how.
        supervised: end when the process that started this one, a server, has ended. Otherwise the health port is this
            one's own.

    Returns:
        The exit code: 128 and the number of the signal.

    Raises:
        ConfigurationError: it cannot start as it is configured, or there is no durable listener.
        StoreError: the database cannot be used.
    """
    logs.configure(settings.log_level, settings.log_format, settings.log_color)
    logs.catch_all()
    sys.stdout = WholeLines(sys.stdout)
    metrics.start(PART if supervised else None)
    service = Service.of(load_extensions(targets), settings)
    durability = service.durability
    if durability is None:
        raise RegistrationError(f"{service.name} has no durable listener, so that a worker has nothing to deliver")
    metrics.describe(service.name, service.version, (), durability.keys)
    worker = durability.worker(f"worker-{os.getpid()}")
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        worker.stop()

    def is_ready() -> bool:
        return not received and bool(durability.is_writable())

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    if supervised:
        _end_with_parent()
    elif probes := binding.probes(settings, is_ready, durability.backlog):
        probes.start()
    durability.keep_house()
    logger.info("Delivering with %d threads", settings.worker_threads)
    worker.run()
    logger.info("The delivery worker has ended")
    return 128 + received[0] if received else 1


def _end_with_parent() -> None:
    parent = os.getppid()

    def watch() -> None:
        while not threading.Event().wait(_PARENT_CHECK):
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
