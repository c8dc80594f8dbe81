"""Arbiter: gunicorn's process that keeps the web processes, the delivery worker and the event log running."""

import logging
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger

from extension_kit.server.event_log_process import EventLogProcess
from extension_kit.server.shared_state import START_AGAIN, SharedState
from extension_kit.server.worker_process import WorkerProcess

logger = logging.getLogger("extension_kit.server")


class GunicornLogger(Logger):
    """gunicorn's messages in the kit's log format; its info lines become debug lines."""

    def setup(self, cfg: Any) -> None:
        self.error_log.propagate = True

    def debug(self, msg: str, *args: Any, **kwargs: Any) -> None:
        if not msg.startswith("Current configuration"):  # some kilobytes about gunicorn
            super().debug(msg, *args, **kwargs)

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        self.error_log.debug(msg, *args, **kwargs)

    def error(self, msg: str, *args: Any, **kwargs: Any) -> None:
        if args and args[-1] in (Arbiter.APP_LOAD_ERROR, START_AGAIN):
            return  # the web process has logged the reason
        super().error(msg, *args, **kwargs)


class ServerArbiter(Arbiter):
    """Keeps the web processes, the delivery worker and the event log running, and stops them on a signal.

    Args:
        application: gunicorn's application.
        shared: state of the web processes.
        worker_process: the delivery worker; None: there is none beside this server.
        event_log: the event log; None: there is none beside this server.
    """

    received_signal: int = 0
    _halting = False

    def __init__(
        self,
        application: BaseApplication,
        shared: SharedState,
        worker_process: WorkerProcess | None,
        event_log: EventLogProcess | None,
    ) -> None:
        self._shared = shared
        self._worker_process = worker_process
        self._event_log = event_log
        self._children = [child for child in (worker_process, event_log) if child is not None]
        super().__init__(application)

    def handle_term(self) -> None:
        self._drain(signal.SIGTERM)
        super().handle_term()

    def handle_int(self) -> None:
        # gunicorn would send SIGQUIT, which uvicorn's worker ignores: Ctrl-C would last the whole grace period.
        self._drain(signal.SIGINT)
        super().handle_term()

    handle_quit = handle_int

    def _drain(self, received: int) -> None:
        self.received_signal = received
        self._shared.draining = True
        logger.info("Update readiness probe - ready: false")
        logger.info("Stopping Extension HTTP Server")

    def manage_workers(self) -> None:
        super().manage_workers()
        if self._worker_process is not None and self._shared.has_durable_listeners:
            self._worker_process.keep_running()
            self._shared.set_reasons(self._worker_process.reasons)
        if self._event_log is not None and self._shared.has_served:
            self._event_log.keep_running()

    def stop(self, graceful: bool = True) -> None:
        started = time.monotonic()
        for child in self._children:
            child.stop()
        super().stop(graceful)
        for child in self._children:
            child.wait(max(1.0, self.cfg.graceful_timeout - (time.monotonic() - started)))

    def reap_workers(self) -> None:
        for child in self._children:
            child.poll()
        try:
            super().reap_workers()
        except HaltServer:
            # gunicorn raises it again for each further worker that could not start, while it is already stopping.
            if not self._halting:
                raise

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        self._halting = True
        if reason is not None and exit_status != Arbiter.APP_LOAD_ERROR:
            logger.error("Server ends: %s", reason)
        try:
            with suppress(FileNotFoundError):  # the unix socket has been removed
                super().halt()
        finally:
            if exit_status == Arbiter.APP_LOAD_ERROR:
                sys.exit(2)
            sys.exit(128 + self.received_signal if self.received_signal else exit_status)
