"""``extension-kit serve``: gunicorn, run by program, with the ASGI edge in its workers and a health port beside them."""

import logging
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from uvicorn_worker import UvicornWorker

from extension_kit import logs
from extension_kit.asgi import AsgiApplication
from extension_kit.errors import ConfigurationError
from extension_kit.http_protocol import LimitedHttpProtocol
from extension_kit.loading import load_extensions, watched_files
from extension_kit.probes import ProbesServer
from extension_kit.service import Service
from extension_kit.settings import Settings

logger = logging.getLogger("extension_kit.server")

_SLOTS = 256


class SharedState:
    """What the arbiter and its workers know together, in memory they share."""

    def __init__(self) -> None:
        self._bytes = mmap.mmap(-1, _SLOTS + 1)
        self.draining = False

    def worker_ready(self, age: int, ready: bool) -> None:
        """Note whether the worker with this age, gunicorn's running number, takes requests."""
        self._bytes[age % _SLOTS] = ready

    def is_ready(self) -> bool:
        """Whether any worker takes requests and the server is not about to stop."""
        return not self.draining and any(self._bytes[:_SLOTS])

    def is_first_failure(self) -> bool:
        """Whether no other worker has said yet that the handlers cannot be loaded: one line about it is enough."""
        first = self._bytes[_SLOTS] == 0
        self._bytes[_SLOTS] = 1
        return first


class ListenerWorker(UvicornWorker):
    """A worker process: uvicorn on uvloop, with our limits."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        uvicorn_logger = logging.getLogger("uvicorn.error")
        uvicorn_logger.propagate = True  # to our formatter
        uvicorn_logger.setLevel(logging.WARNING)


class GunicornLogger(Logger):
    """gunicorn's messages in the format of ours; what is routine to it is a debug message."""

    def setup(self, cfg: Any) -> None:
        self.error_log.propagate = True

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        self.error_log.debug(msg, *args, **kwargs)

    def error(self, msg: str, *args: Any, **kwargs: Any) -> None:
        if args and args[-1] == Arbiter.APP_LOAD_ERROR or "App failed to load." in args:
            return  # the worker has said why, in one line
        super().error(msg, *args, **kwargs)


class ListenerArbiter(Arbiter):
    """Keeps the worker processes running."""

    app: "Server"
    received_signal: int = 0

    def handle_term(self) -> None:
        self._drain(signal.SIGTERM, "Stopping Extension HTTP Server")
        super().handle_term()

    def handle_int(self) -> None:
        self._drain(signal.SIGINT, "Stopping Extension HTTP Server")
        super().handle_int()

    def _drain(self, received: int, message: str) -> None:
        self.received_signal = received
        self.app.state.draining = True
        logger.info("Update readiness probe - ready: false")
        logger.info(message)

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        try:
            super().halt(reason, exit_status)
        except SystemExit:
            if exit_status == Arbiter.APP_LOAD_ERROR:
                sys.exit(2)
            sys.exit(128 + self.received_signal if self.received_signal else exit_status)


class Server(BaseApplication):
    """The gunicorn application for a set of handler files.

    Args:
        targets: files, folders or modules with extensions.
        settings: how to serve them.
        reload: start anew when one of the files changes.

    Raises:
        ConfigurationError: a port is taken, or certificates cannot be used.
    """

    def __init__(self, targets: Sequence[str], settings: Settings, reload: bool = False) -> None:
        self.state = SharedState()
        self._targets = targets
        self._settings = settings
        self._reload = reload
        self._worker_age = 0
        self._tls = _tls_context(settings)
        self._bind, self._place = _bind(settings)
        self._probes = _probes(settings, self.state.is_ready)
        super().__init__(prog="extension-kit")

    def load_config(self) -> None:
        settings = self._settings
        ListenerWorker.CONFIG_KWARGS = {
            "loop": "auto",
            "http": partial(LimitedHttpProtocol, read_timeout=settings.read_timeout),
            "ws": "none",
            "interface": "asgi3",
            "lifespan": "on",
            "access_log": False,
            "proxy_headers": False,
            "server_header": False,
            "limit_concurrency": settings.max_connections,
            # Before the arbiter loses patience, so that functions which hang are not the reason of a kill.
            "timeout_graceful_shutdown": max(1, int(settings.grace_period) - 1),
            "ssl_context_factory": (lambda *_: self._tls) if self._tls else None,
        }
        for key, value in {
            "bind": self._bind,
            "workers": settings.web_workers,
            "worker_class": ListenerWorker,
            "logger_class": GunicornLogger,
            "keepalive": int(settings.keep_alive),
            "graceful_timeout": int(settings.grace_period),
            "reuse_port": settings.web_workers > 1 and not settings.unix_socket,
            "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,
            "control_socket_disable": True,
            "reload": self._reload,
            "reload_extra_files": watched_files(self._targets) if self._reload else [],
            "post_fork": self._post_fork,
            "child_exit": self._child_exit,
            "worker_int": _end_gracefully,
        }.items():
            self.cfg.set(key, value)

    def load(self) -> Callable[..., Any]:
        """Load the handlers, in the worker process: what they start or open at import must not be shared by a fork."""
        try:
            service = Service.of(load_extensions(self._targets), self._settings)
        except ConfigurationError as error:
            if self._reload:
                logger.error("%s; waiting for a change of the files", error)
                return _not_loaded(str(error))
            if self.state.is_first_failure():
                print(f"extension-kit: {error}", file=sys.stderr, flush=True)
            sys.exit(Arbiter.APP_LOAD_ERROR)
        if self._worker_age == 1 or self._reload:
            logger.info("Build information: name=%s; version=%s; revision=unknown", service.name, service.version)
            for doubt in service.registry.doubts():
                logger.warning("%s", doubt)
        return AsgiApplication(service, on_ready=self._on_ready)

    def run(self) -> None:
        """Serve until a signal ends it; always by SystemExit."""
        if self._probes is not None:
            self._probes.start()
        logger.info("Starting extension %s", self._place)
        ListenerArbiter(self).run()

    def _post_fork(self, arbiter: Arbiter, worker: UvicornWorker) -> None:
        self._worker_age = worker.age
        if self._probes is not None:
            self._probes.socket.close()

    def _child_exit(self, arbiter: Arbiter, worker: UvicornWorker) -> None:
        self.state.worker_ready(worker.age, False)

    def _on_ready(self) -> None:
        self.state.worker_ready(self._worker_age, True)
        logger.info("Update readiness probe - ready: true")


def serve(targets: Sequence[str], settings: Settings, *, reload: bool = False) -> None:
    """Serve the extensions of handler files until a signal ends it.

    Raises:
        ConfigurationError: it cannot start as it is configured.
        SystemExit: at the end; the code is 143 after SIGTERM, 130 after SIGINT, 2 where the handlers cannot be loaded.
    """
    logs.configure(settings.log_level, settings.log_format, settings.log_color)
    Server(targets, settings, reload).run()


def _tls_context(settings: Settings) -> Any:
    if not settings.tls_server_cert or not settings.tls_server_key:
        return None
    from extension_kit import tls

    return tls.server_context(settings.tls_server_cert, settings.tls_server_key, settings.tls_client_cas)


def _bind(settings: Settings) -> tuple[str, str]:
    """What gunicorn is to bind, and how to speak of it."""
    if settings.unix_socket:
        return _bind_unix_socket(Path(settings.unix_socket))
    host = settings.bind_address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Bound once without SO_REUSEPORT: with it, two servers would share a taken port without a word.
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, settings.port))
        except OSError as error:
            raise ConfigurationError(
                f"port {settings.port} on {host} cannot be used ({error.strerror}): stop what uses it or set "
                "STEADYBIT_EXTENSION_PORT"
            ) from None
        port = probe.getsockname()[1]
    scheme = "https" if settings.tls_server_cert else "http"
    client = " (ClientAuth: RequireAndVerifyClientCert)" if settings.tls_client_cas else ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", f"{scheme} server on port {port}{client}"


def _bind_unix_socket(path: Path) -> tuple[str, str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise ConfigurationError(f"STEADYBIT_EXTENSION_UNIX_SOCKET: {path.parent}: {error.strerror}") from None
    if path.exists() and not path.is_socket():
        raise ConfigurationError(f"STEADYBIT_EXTENSION_UNIX_SOCKET: {path} is there and is not a socket")
    return f"unix:{path}", f"http server on unix domain socket ({path})"


def _probes(settings: Settings, is_ready: Callable[[], bool]) -> ProbesServer | None:
    if settings.unix_socket:
        return None  # its health endpoints are on the socket, so that many extensions fit on one host
    try:
        return ProbesServer((settings.bind_address, settings.health_port), is_ready)
    except OSError as error:
        raise ConfigurationError(
            f"health port {settings.health_port} cannot be used ({error.strerror}): stop what uses it or set "
            "STEADYBIT_EXTENSION_HEALTH_PORT"
        ) from None


def _end_gracefully(worker: UvicornWorker) -> None:
    """gunicorn's reloader ends only its own thread; uvicorn stops on a signal."""
    os.kill(os.getpid(), signal.SIGTERM)


def _not_loaded(reason: str) -> Callable[..., Any]:
    """An application that says why there is none, until a file is changed."""
    from extension_kit.events.answer import problem

    answer = problem(500, "The extension cannot be loaded", reason)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
                if kind == "lifespan.shutdown":
                    return
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(answer.body)),
                ],
            }
        )
        await send({"type": "http.response.body", "body": answer.body})

    return application
