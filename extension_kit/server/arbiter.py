"""Arbiter of gunicorn: keeps the web processes, each with uvicorn, and the delivery worker running."""

import logging
import mmap
import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger
from uvicorn_worker import UvicornWorker

from extension_kit.server.worker_process import Deliverer

logger = logging.getLogger("extension_kit.server")

NO_STORE = os.EX_TEMPFAIL
"""Exit code of a web process that could not use the database and is to be started again."""

_SLOTS = 256
_COMPLAINED, _HAS_DURABLE, _HAS_SERVED = range(_SLOTS, _SLOTS + 3)
_SIGN_OF_LIFE = 1  # seconds between a web process's heartbeats


class SharedState:
    """State of the web processes, in memory shared by the arbiter and them."""

    def __init__(self) -> None:
        self._bytes = mmap.mmap(-1, _SLOTS + 3)
        self.draining = False

    def worker_ready(self, age: int, ready: bool) -> None:
        """Record if the web process with this age (gunicorn's running number) takes requests."""
        self._bytes[age % _SLOTS] = ready
        if ready:
            self._bytes[_HAS_SERVED] = True
            self._bytes[_COMPLAINED] = False

    def is_ready(self) -> bool:
        """Return True if a web process takes requests and the server is not draining."""
        return not self.draining and any(self._bytes[:_SLOTS])

    @property
    def has_served(self) -> bool:
        """True if a web process has been ready since the server was started."""
        return self._bytes[_HAS_SERVED] == 1

    @property
    def has_durable_listeners(self) -> bool:
        """True if the handlers, loaded by the web processes only, have durable listeners."""
        return self._bytes[_HAS_DURABLE] == 1

    @has_durable_listeners.setter
    def has_durable_listeners(self, value: bool) -> None:
        self._bytes[_HAS_DURABLE] = value

    def is_first_failure(self) -> bool:
        """Return True once per outage, so that only the first failing web process logs."""
        first = self._bytes[_COMPLAINED] == 0
        self._bytes[_COMPLAINED] = True
        return first


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


class ListenerWorker(UvicornWorker):
    """A web process: uvicorn on uvloop, with the kit's limits."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        uvicorn_logger = logging.getLogger("uvicorn.error")
        uvicorn_logger.propagate = True  # to our formatter
        uvicorn_logger.setLevel(logging.WARNING)
        self.config.timeout_notify = _SIGN_OF_LIFE

    def init_signals(self) -> None:
        super().init_signals()
        # When it has stopped, uvicorn raises the signal again with its default action: the process would end at once,
        # without calling the functions registered with atexit.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)

    async def callback_notify(self) -> None:
        await super().callback_notify()
        if os.getppid() != self.ppid:
            logger.error("Arbiter process gone, web process ends")  # its successor needs the port
            os.kill(self.pid, signal.SIGTERM)


class GunicornLogger(Logger):
    """gunicorn's messages in the kit's log format; its info lines become debug lines."""

    def setup(self, cfg: Any) -> None:
        self.error_log.propagate = True

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        self.error_log.debug(msg, *args, **kwargs)

    def error(self, msg: str, *args: Any, **kwargs: Any) -> None:
        if args and args[-1] in (Arbiter.APP_LOAD_ERROR, NO_STORE):
            return  # the web process has logged the reason
        super().error(msg, *args, **kwargs)


class HasState(Protocol):
    """The application of the arbiter: shared state and delivery worker."""

    state: SharedState
    deliverer: Deliverer | None


class ListenerArbiter(Arbiter):
    """Keeps the web processes and the delivery worker running, and stops them on a signal."""

    app: HasState
    received_signal: int = 0
    _halting = False

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
        self.app.state.draining = True
        logger.info("Update readiness probe - ready: false")
        logger.info("Stopping Extension HTTP Server")

    def manage_workers(self) -> None:
        super().manage_workers()
        if self.app.deliverer is not None and self.app.state.has_durable_listeners:
            self.app.deliverer.keep_running()

    def stop(self, graceful: bool = True) -> None:
        started = time.monotonic()
        if self.app.deliverer is not None:
            self.app.deliverer.stop()
        super().stop(graceful)
        if self.app.deliverer is not None:
            self.app.deliverer.wait(max(1.0, self.cfg.graceful_timeout - (time.monotonic() - started)))

    def reap_workers(self) -> None:
        if self.app.deliverer is not None:
            self.app.deliverer.poll()
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
