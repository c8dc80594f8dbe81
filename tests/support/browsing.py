"""Chromium as tests of pages start it, and servers with an event log beside them."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from tests.support.paths import KIT
from tests.support.servers import free_port, ready, run_server
from tests.support.waiting import wait_until

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EXAMPLES = [str(Path(__file__).parents[2] / "extensions" / name) for name in ("announce", "pager")]
PASSWORD = "correct horse battery"


def arguments():
    """Arguments with which Chromium runs as root, and in containers with little shared memory."""
    return ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]


@contextmanager
def serve_with_event_log(log, reports, targets=EXAMPLES, **environment):
    """Serve extensions with the event log beside them: ``event_log`` is its address, ``database`` a URL."""
    port = free_port()
    access = {} if "EXTENSION_EVENT_LOG_OPEN" in environment else {"EXTENSION_EVENT_LOG_PASSWORD": PASSWORD}
    settings = {"EXTENSION_EVENT_LOG_PORT": port, "REPORTS": reports, **access}
    with run_server([KIT, "serve", *targets], log, **{**settings, **environment}) as server:
        ready(server)
        server.event_log = f"http://127.0.0.1:{port}"
        server.database = f"sqlite:///{log}.db"
        wait_until(lambda: "Event log at" in server.log)
        yield server
