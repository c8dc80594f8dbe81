"""``extension-kit serve``: gunicorn with the ASGI edge in its web processes, a health port and a delivery worker."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from math import ceil
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

from extension_kit.errors import ConfigurationError, StoreError
from extension_kit.loading import load_extensions, watched_files
from extension_kit.observability import logs, metrics
from extension_kit.observability.metrics_page import Backlog
from extension_kit.runtime.service import Service
from extension_kit.runtime.stdout import WholeLines
from extension_kit.server import listen as binding
from extension_kit.server.arbiter import NO_STORE, GunicornLogger, ListenerArbiter, ListenerWorker, SharedState
from extension_kit.server.asgi import AsgiApplication, unloaded
from extension_kit.server.backlog_query import Inquiry
from extension_kit.server.http_protocol import LimitedHttpProtocol
from extension_kit.server.in_flight import Limits
from extension_kit.server.worker_process import Deliverer
from extension_kit.settings.kit import Settings, unknown_variables

logger = logging.getLogger("extension_kit.server")

_STORE_PAUSE = 1.0  # seconds until a web process that could not use the database is started again


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
        self.state = SharedState()
        self.deliverer = Deliverer(targets) if deliver else None
        self._targets = targets
        self._settings = settings
        self._reload = reload
        self._worker_age = 0
        self._inquiry = Inquiry()
        self._tls = binding.tls_context(settings)
        self._bind, self._place = binding.bind(settings)
        self._probes = binding.probes(settings, self.state.is_ready, self._backlog)
        super().__init__(prog="extension-kit")

    def load_config(self) -> None:
        settings = self._settings
        ListenerWorker.CONFIG_KWARGS = {
            "loop": "auto",
            "http": partial(
                LimitedHttpProtocol,
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
            "worker_class": ListenerWorker,
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
            "on_reload": self._renew_deliverer,
            "worker_int": _end_gracefully,
        }.items():
            self.cfg.set(key, value)

    def load(self) -> Callable[..., Any]:
        """Load the handlers in the web process: threads and files they open at import must not cross a fork."""
        try:
            service = Service.of(load_extensions(self._targets), self._settings)
            application = AsgiApplication(service, on_ready=self._on_ready)
        except (ConfigurationError, StoreError) as error:
            if isinstance(error, StoreError) and self.state.has_served:
                self._come_again(error)
            if self._reload:
                logger.warning("%s; waiting for changed files", error)
                return unloaded(str(error))
            if self.state.is_first_failure():
                print(f"extension-kit: {error}", file=sys.stderr, flush=True)
            sys.stdout.flush()
            os._exit(Arbiter.APP_LOAD_ERROR)  # even if the module has started threads before it failed
        if self._worker_age == 1 or self._reload:
            logger.info("Build information: name=%s; version=%s; revision=unknown", service.name, service.version)
            for line in service.lines:
                logger.info("%s", line)
            for doubt in [*unknown_variables(service.variables), *service.registry.doubts()]:
                logger.warning("%s", doubt)
        if service.durability is not None:
            self.state.has_durable_listeners = True
            service.durability.recorder.notice = self._on_stored
            service.durability.recorder.start()
            self._inquiry.answer(service.durability.backlog)
        return application

    def _come_again(self, error: StoreError) -> NoReturn:
        """Exit with ``NO_STORE``, so that the arbiter starts new web processes until the database is back."""
        if self.state.is_first_failure():
            logger.error("Database unavailable, web process restarts until it is back: %s", error)
        time.sleep(_STORE_PAUSE)
        sys.stdout.flush()
        os._exit(NO_STORE)

    def run(self) -> None:
        """Serve until a signal arrives; always ends with SystemExit."""
        if self._probes is not None:
            self._probes.start()
        logger.info("Starting extension %s", self._place)
        ListenerArbiter(self).run()

    def _backlog(self) -> Backlog | None:
        return self._inquiry.ask() if self.state.has_durable_listeners else None

    def _pre_fork(self, arbiter: Arbiter, worker: UvicornWorker) -> None:
        taken = {other.place for other in arbiter.WORKERS.values()}
        worker.place = next(place for place in map(str, count()) if place not in taken)

    def _post_fork(self, arbiter: Arbiter, worker: UvicornWorker) -> None:
        self._worker_age = worker.age
        metrics.start(worker.place)
        if self._probes is not None:
            self._probes.leave()

    def _child_exit(self, arbiter: Arbiter, worker: UvicornWorker) -> None:
        self.state.worker_ready(worker.age, False)
        metrics.ended(worker.place)
        if self._reload:
            self._renew_deliverer(arbiter)

    def _renew_deliverer(self, arbiter: Arbiter) -> None:
        """End the delivery worker. A new one starts when a web process has loaded files with durable listeners."""
        if self.deliverer is not None:
            self.state.has_durable_listeners = False
            self.deliverer.stop()

    def _on_stored(self, stored: bool) -> None:
        self.state.worker_ready(self._worker_age, stored)
        logger.info("Update readiness probe - ready: %s", str(stored).lower())

    def _on_ready(self) -> None:
        self.state.worker_ready(self._worker_age, True)
        logger.info("Update readiness probe - ready: true")


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
