"""Server of the event log: one process with uvicorn, the kit's limits for clients, and Flask on threads."""

import logging
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from types import FrameType
from typing import NoReturn

from uvicorn import Config, Server

from extension_kit.engine.liveness import Liveness
from extension_kit.errors import ConfigurationError
from extension_kit.event_log.app import ACTIONS, MOST_BODY_BYTES, create_app
from extension_kit.event_log.context import EventLog
from extension_kit.loading import load_extensions
from extension_kit.observability import logs
from extension_kit.runtime.service import Service
from extension_kit.runtime.stdout import WholeLines
from extension_kit.server import listen
from extension_kit.server.child_process import end_with_parent, shorter
from extension_kit.server.event_log_requests import EventLogRequests
from extension_kit.server.http_protocol import LimitedHttpProtocol
from extension_kit.server.in_flight import Limits
from extension_kit.settings.environment import idle_variables, unknown_variables
from extension_kit.settings.event_log import check_access, is_loopback
from extension_kit.settings.kit import EVENT_LOG, Settings
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.event_log")

_MOST_CONNECTIONS = 200
_IN_FLIGHT = 16 * 1024**2  # bytes
_SIGN_EVERY = 1  # seconds
_LAST_BATCH = 5.0  # seconds for the deliveries that an action is changing


def serve_event_log(
    targets: Sequence[str],
    settings: Settings,
    *,
    supervisor: int | None = None,
    sockets: Sequence[int] = (),
    liveness_pipe: int | None = None,
) -> None:
    """Serve the event log until a signal arrives.

    Args:
        targets: files, folders or modules of extensions, of which the pages tell more than the database does.
        settings: the settings of the kit.
        supervisor: the process id of the server that started this process. The event log ends when that process has
            ended, and leaves out extensions that cannot be loaded. None: there is no such server.
        sockets: numbers of the files of listening sockets; empty: the port is bound here.
        liveness_pipe: where that server reads signs of life.

    Raises:
        ConfigurationError: a setting or target is wrong, or the port is taken.
        SystemExit: at the end; the code is 143 after SIGTERM, 130 after SIGINT.
    """
    logs.configure(settings.log_level, settings.log_format, settings.log_color)
    logs.catch_all()
    sys.stdout = WholeLines(sys.stdout)
    check_access(settings)
    if supervisor is not None:
        end_with_parent(supervisor)
        settings = replace(settings, grace_period=shorter(settings.grace_period))
    listening = [socket.socket(fileno=number) for number in sockets] or listen.event_log_sockets(settings)
    tls = listen.tls_context(replace(settings, tls_client_cas=()))  # those are of agents
    service = _service(targets, settings, is_needed=supervisor is None)
    database = Database(settings.database_url, timeout=settings.store_timeout)
    if supervisor is None:
        _warn_of_mistakes(service)
    _warn_of_plain_passwords(settings)
    logger.info("Event log at %s", listen.event_log_url(settings, listening[0].getsockname()[1]))
    _run(EventLog(settings, database, service), listening, tls, Liveness(settings.longest_silence, liveness_pipe))


def _service(targets: Sequence[str], settings: Settings, *, is_needed: bool) -> Service | None:
    """Return the extensions, without opening their database.

    Raises:
        ConfigurationError: they are needed, and cannot be loaded.
    """
    if not targets:
        return None
    try:
        return Service.of(load_extensions(targets), settings)
    except ConfigurationError as error:
        if is_needed:
            raise
        logger.warning("Event log without extensions: %s", error)  # the server waits for changed files
        return None


def _warn_of_mistakes(service: Service | None) -> None:
    for sentence in unknown_variables(service.variables if service else ()):
        if service is not None or sentence.startswith("EXTENSION_EVENT_LOG_"):  # others may be settings of extensions
            logger.warning("%s", sentence)
    if idle := idle_variables(EVENT_LOG):
        logger.debug("%s", idle)  # no warning: servers and event logs are run with the same environment


def _warn_of_plain_passwords(settings: Settings) -> None:
    if settings.event_log_password and not settings.tls_server_cert and not is_loopback(settings.event_log_address):
        logger.warning(
            "The event log's password crosses the network in plain text: set STEADYBIT_EXTENSION_TLS_SERVER_CERT and "
            "STEADYBIT_EXTENSION_TLS_SERVER_KEY, or let a proxy with TLS be the only one that reaches it"
        )


def _run(log: EventLog, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None, liveness: Liveness) -> None:
    async def tell() -> None:
        liveness.tell()

    settings = log.settings
    limits = Limits(
        read_timeout=settings.read_timeout,
        write_timeout=settings.write_timeout,
        connections=min(settings.max_connections, _MOST_CONNECTIONS),
        body=MOST_BODY_BYTES,
        in_flight=_IN_FLIGHT,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)  # uvicorn raises the signal again when it has stopped
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    app = create_app(log)
    config = Config(
        EventLogRequests(app, settings.event_log_trusted_header),
        http=partial(LimitedHttpProtocol, limits=limits),  # type: ignore[arg-type]
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=ceil(settings.keep_alive),
        timeout_graceful_shutdown=ceil(settings.grace_period),
        callback_notify=tell,
        timeout_notify=_SIGN_EVERY,
        ssl_context_factory=(lambda *_: tls) if tls else None,
    )
    try:
        Server(config).run(list(sockets))
    finally:
        app.extensions[ACTIONS].stop(_LAST_BATCH)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
