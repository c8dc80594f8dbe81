"""Event log beside a server: a process of its own, started, watched, restarted and stopped with it.

The server binds its port, so that a taken one stops the start, and a restarted event log keeps it.
"""

import subprocess
import sys
from collections.abc import Sequence

from extension_kit.server import listen
from extension_kit.server.watched_process import WatchedProcess
from extension_kit.settings.event_log import check_access
from extension_kit.settings.kit import Settings


class EventLogProcess(WatchedProcess):
    """Child process that runs ``extension-kit event-log``.

    Args:
        targets: the handler files.
        settings: the settings of the kit.

    Raises:
        ConfigurationError: nobody could get in, or the port is taken.
    """

    def __init__(self, targets: Sequence[str], settings: Settings) -> None:
        check_access(settings)
        command = [sys.executable, "-m", "extension_kit", "event-log", *targets]
        super().__init__("Event log", command, settings.longest_silence)
        self._sockets = listen.event_log_sockets(settings)

    def _start(self) -> subprocess.Popen[bytes]:
        files = [each.fileno() for each in self._sockets]
        return self._run("--sockets", ",".join(map(str, files)), files=files)

    def close_after_fork(self) -> None:
        """Close the sockets in a forked child of the server."""
        for each in self._sockets:
            each.close()
