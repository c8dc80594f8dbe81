"""Web process: loads the handlers after the fork, serves them by uvicorn, and says how it failed if it cannot.

Handlers are loaded here and not in the arbiter: threads and files that they open at import must not cross a fork.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

from extension_kit.errors import ConfigurationError, StoreError
from extension_kit.events.registration_document import list_warnings
from extension_kit.loading import folder_of, open_service
from extension_kit.observability.logs import fatal_line
from extension_kit.observability.revision import find_revision
from extension_kit.runtime.process_hooks import StartFailed
from extension_kit.runtime.service import Service
from extension_kit.server.asgi import AsgiApplication, failed_to_load
from extension_kit.server.request_bodies import Application
from extension_kit.server.shared_state import START_AGAIN, SharedState
from extension_kit.settings.kit import Settings

logger = logging.getLogger("extension_kit.server")

_HEARTBEAT = 1  # seconds
_STORE_PAUSE = 1.0  # seconds until a web process that could not use the database is started again
_HOOK_PAUSE = 3.0  # seconds until one is started again of which a hook failed


class WebWorker(UvicornWorker):
    """gunicorn's worker class: uvicorn on uvloop, with the kit's limits."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        uvicorn_logger = logging.getLogger("uvicorn.error")
        uvicorn_logger.propagate = True  # to our formatter
        uvicorn_logger.setLevel(logging.WARNING)
        self.config.timeout_notify = _HEARTBEAT

    def init_signals(self) -> None:
        super().init_signals()
        # When it has stopped, uvicorn raises the signal again with its default action: the process would end at once,
        # without calling the functions registered with atexit.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _exit)

    def load_wsgi(self) -> None:
        self._loaded = _modified(self.cfg.reload_extra_files)
        super().load_wsgi()

    async def callback_notify(self) -> None:
        await super().callback_notify()
        if _modified(self.cfg.reload_extra_files) != self._loaded:  # gunicorn's reloader misses changes while it loads
            os.kill(self.pid, signal.SIGTERM)
        if os.getppid() != self.ppid:
            logger.error("Arbiter process gone, web process ends")  # its successor needs the port
            os.kill(self.pid, signal.SIGTERM)


def _modified(files: Iterable[str]) -> list[float]:
    """Return the times at which files were modified; 0 for those that do not exist."""
    return [os.stat(file).st_mtime if os.path.exists(file) else 0.0 for file in files]


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


@dataclass(frozen=True)
class WebProcess:
    """One web process from its fork to its first request.

    Args:
        shared: state that the arbiter reads.
        slot: number of this process in that state.
        is_first: True for the first process of the server, which logs what is served.
        reload: a handler file that cannot be loaded is answered with 500 until it has changed.
        has_health_port: True if the arbiter serves readiness and metrics, for which it needs the backlog.
        delivers: True if a delivery worker runs beside the web processes.
        listening_on: description of the port for the log.
        notify: tells the arbiter that this process lives.
    """

    shared: SharedState
    slot: int
    is_first: bool
    reload: bool
    has_health_port: bool
    delivers: bool
    listening_on: str
    notify: Callable[[], None]

    def load(self, targets: Sequence[str], settings: Settings) -> Application:
        """Load handler files, and return the application to be served; it does not return if that fails.

        Without ``reload``, a failure ends the process. The exit code tells the arbiter what to do:
        ``START_AGAIN`` starts another process, gunicorn's ``APP_LOAD_ERROR`` ends the server with code 2.
        """
        try:
            service = open_service(targets, settings)
            if self.delivers and service.runtime is not None and not self.shared.has_served:
                service.runtime.check_sessions()
            application = AsgiApplication(service, on_ready=self._on_ready)
        except (ConfigurationError, StoreError) as error:
            if isinstance(error, StoreError) and self.shared.has_served:
                self._restart(error)
            if self.reload:
                return self._explain(error)
            self._end_server(error)
        self._announce(service, targets[0])
        service.reasons = self.shared.reasons
        self._begin(service)
        if service.runtime is not None:
            self.shared.has_durable_listeners = True
            service.runtime.start_commits(self._on_writable_change)
            if self.has_health_port:
                self.shared.keep_backlog_fresh(service.runtime.backlog)
        return application

    def _begin(self, service: Service) -> None:
        """Call the hooks of extensions with immediate listeners; it does not return if one fails."""

        def goes_on() -> bool:
            self.notify()  # the arbiter kills a process that is silent for as long as a hook may take
            return True

        try:
            service.hooks.start(service.immediate_extensions, goes_on)
        except StartFailed:
            time.sleep(_HOOK_PAUSE)
            _exit_at_once(START_AGAIN)

    def _restart(self, error: StoreError) -> NoReturn:
        if self.shared.is_first_failure():
            logger.error("Database unavailable, web process restarts until it is back: %s", error)
        time.sleep(_STORE_PAUSE)
        _exit_at_once(START_AGAIN)

    def _explain(self, error: ConfigurationError | StoreError) -> Application:
        if self.is_first:
            logger.info("Starting extension %s", self.listening_on)
        logger.warning("%s; waiting for changed files", error)
        return failed_to_load(str(error))

    def _end_server(self, error: ConfigurationError | StoreError) -> NoReturn:
        if self.shared.is_first_failure():
            print(fatal_line(str(error)), file=sys.stderr, flush=True)
        _exit_at_once(Arbiter.APP_LOAD_ERROR)

    def _announce(self, service: Service, target: str) -> None:
        if self.is_first:
            logger.info("Starting extension %s", self.listening_on)
        if self.is_first or self.reload:
            revision = service.settings.revision or find_revision(folder_of(target))
            logger.info("Build information: name=%s; version=%s; revision=%s", service.name, service.version, revision)
            for line in service.lines:
                logger.info("%s", line)
            for doubt in [*service.doubts(), *list_warnings(service.registry)]:
                logger.warning("%s", doubt)

    def _on_writable_change(self, writable: bool) -> None:
        self.shared.set_ready(self.slot, writable)
        logger.info("Update readiness probe - ready: %s", str(writable).lower())

    def _on_ready(self) -> None:
        self.shared.set_ready(self.slot, True)
        logger.info("Update readiness probe - ready: true")


def _exit_at_once(code: int) -> NoReturn:
    """End the process even if a handler file has started threads before it failed."""
    sys.stdout.flush()
    os._exit(code)
