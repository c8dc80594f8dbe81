"""``extension-kit serve``: gunicorn with the ASGI edge in its web processes, a health port and a delivery worker."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from itertools import count
from math import ceil

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

from extension_kit.loading import watched_files
from extension_kit.observability import logs, metrics
from extension_kit.runtime.stdout import WholeLines
from extension_kit.server import listen
from extension_kit.server.arbiter import GunicornLogger, ServerArbiter
from extension_kit.server.event_log_process import EventLogProcess
from extension_kit.server.event_protocol import EventHttpProtocol
from extension_kit.server.in_flight import Limits
from extension_kit.server.request_bodies import Application
from extension_kit.server.shared_state import SharedState
from extension_kit.server.web_process import WebProcess, WebWorker
from extension_kit.server.worker_process import WorkerProcess
from extension_kit.settings.environment import idle_variables
from extension_kit.settings.kit import SERVE, Settings

logger = logging.getLogger("extension_kit.server")


class Server(BaseApplication):
    """The gunicorn application for a set of handler files.

    Args:
        targets: files, folders or modules with extensions.
        settings: how to serve them.
        reload: restart when one of the files changes.
        deliver: also run a delivery worker for durable listeners.

    Raises:
        ConfigurationError: a port is taken, or certificates cannot be used.
    """

    def __init__(self, targets: Sequence[str], settings: Settings, reload: bool = False, deliver: bool = True) -> None:
        self._shared = SharedState()
        self._worker_process = WorkerProcess(targets, settings.longest_silence) if deliver else None
        self._web_process: WebProcess
        self._targets = targets
        self._settings = settings
        self._reload = reload
        self._tls = listen.tls_context(settings)
        self._bind, self._listening_on = listen.bind(settings)
        self._health_port = listen.health_port(
            settings, self._shared.is_ready, self._shared.backlog, self._shared.reasons
        )
        self._event_log = None if settings.event_log_port is None else EventLogProcess(targets, settings)
        super().__init__(prog="extension-kit")

    def load_config(self) -> None:
        settings = self._settings
        WebWorker.CONFIG_KWARGS = {
            "loop": "auto",
            "http": partial(
                EventHttpProtocol,
                limits=Limits(
                    read_timeout=settings.read_timeout,
                    write_timeout=settings.write_timeout,
                    connections=settings.max_connections,
                    body=settings.max_body_bytes,
                    in_flight=settings.max_inflight_megabytes * 1024**2,
                ),
            ),
            "ws": "none",
            "interface": "asgi3",
            "lifespan": "on",
            "access_log": False,
            "proxy_headers": False,
            "server_header": False,
            # Shorter than the arbiter's timeout, so that a hung function does not get the process killed.
            "timeout_graceful_shutdown": max(0.5, ceil(settings.grace_period) - 1),
            "ssl_context_factory": (lambda *_: self._tls) if self._tls else None,
        }
        for key, value in {
            "bind": self._bind,
            "umask": 0o777 & ~int(settings.unix_socket_mode, 8),
            "workers": settings.web_workers,
            "worker_class": WebWorker,
            "logger_class": GunicornLogger,
            "keepalive": ceil(settings.keep_alive),
            "graceful_timeout": ceil(settings.grace_period),
            "reuse_port": settings.web_workers > 1 and not settings.unix_socket,
            "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,
            "control_socket_disable": True,
            "reload": self._reload,
            "reload_extra_files": watched_files(self._targets) if self._reload else [],
            "pre_fork": self._pre_fork,
            "post_fork": self._post_fork,
            "child_exit": self._child_exit,
            "on_reload": self._renew_child_processes,
            "worker_int": _end_gracefully,
        }.items():
            self.cfg.set(key, value)

    def load(self) -> Application:
        """Load the handlers; gunicorn calls it in the web process."""
        return self._web_process.load(self._targets, self._settings)

    def run(self) -> None:
        """Serve until a signal arrives; always ends with SystemExit."""
        if self._health_port is not None:
            self._health_port.start()
        if self._worker_process is None and (idle := idle_variables(SERVE)):
            logger.debug("%s", idle)  # no warning: servers and workers are run with the same environment
        ServerArbiter(self, self._shared, self._worker_process, self._event_log).run()

    def _pre_fork(self, arbiter: Arbiter, worker: UvicornWorker) -> None:
        taken = {other.slot for other in arbiter.WORKERS.values()}
        worker.slot = next(slot for slot in count() if slot not in taken)

    def _post_fork(self, arbiter: Arbiter, worker: UvicornWorker) -> None:
        metrics.start(str(worker.slot))
        if self._health_port is not None:
            self._health_port.close_after_fork()
        if self._event_log is not None:
            self._event_log.close_after_fork()
        self._web_process = WebProcess(
            self._shared,
            worker.slot,
            is_first=worker.age == 1,
            reload=self._reload,
            has_health_port=self._health_port is not None,
            delivers=self._worker_process is not None,
            listening_on=self._listening_on,
            notify=worker.notify,
        )

    def _child_exit(self, arbiter: Arbiter, worker: UvicornWorker) -> None:
        self._shared.set_ready(worker.slot, False)
        metrics.ended(str(worker.slot))
        if self._reload:
            self._renew_child_processes(arbiter)

    def _renew_child_processes(self, arbiter: Arbiter) -> None:
        """End the delivery worker and the event log, which then start with the changed files.

        The worker does when a web process has loaded files with durable listeners.
        """
        if self._event_log is not None:
            self._event_log.stop()
        if self._worker_process is not None:
            self._shared.has_durable_listeners = False
            self._worker_process.stop()


def serve(targets: Sequence[str], settings: Settings, *, reload: bool = False, deliver: bool = True) -> None:
    """Serve the extensions of handler files until a signal arrives.

    Raises:
        ConfigurationError: the server cannot start with this configuration.
        SystemExit: at the end; the code is 143 after SIGTERM, 130 after SIGINT, 2 if the handlers cannot be loaded.
    """
    logs.configure(settings.log_level, settings.log_format, settings.log_color)
    logs.catch_all()
    sys.stdout = WholeLines(sys.stdout)
    with metrics.shared():
        Server(targets, settings, reload, deliver).run()


def _end_gracefully(worker: UvicornWorker) -> None:
    """Stop a web process by SIGTERM, as uvicorn expects: gunicorn's reloader ends only its own thread."""
    os.kill(os.getpid(), signal.SIGTERM)
