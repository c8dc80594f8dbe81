"""Worker process beside the web processes: started, watched, restarted and stopped with them.

With SQLite nothing else would make the deliveries of a frozen one: it keeps its locks.
"""

import sys
from collections.abc import Sequence

from extension_kit.observability import metrics
from extension_kit.server.watched_process import WatchedProcess

METRICS_NAME = "deliverer"
"""Name of the process in the server's metrics files."""


class WorkerProcess(WatchedProcess):
    """Child process that runs ``extension-kit worker``.

    Args:
        targets: the handler files.
        longest_silence: seconds without a sign of life after which the process is killed and another is started.
    """

    def __init__(self, targets: Sequence[str], longest_silence: float) -> None:
        command = [sys.executable, "-m", "extension_kit", "worker", *targets]
        super().__init__("Delivery worker", command, longest_silence, "; its deliveries will be taken over")

    def _forget(self) -> None:
        super()._forget()
        metrics.ended(METRICS_NAME)
