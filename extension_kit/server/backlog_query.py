"""Backlog query: the arbiter asks a web process for the number of waiting deliveries."""

import json
import logging
import socket
import threading

from extension_kit.observability.metrics_page import Backlog, ReadBacklog

logger = logging.getLogger("extension_kit.server")

_MAX_BYTES = 256


class Inquiry:
    """Lets the arbiter ask a web process for the delivery backlog over a socket pair.

    The arbiter must not open the database itself: it forks, and neither SQLite's locks nor a client's connection
    survive a fork. Create the query before the web processes are forked: all of them read from the same socket, and one
    answers.

    Args:
        patience: seconds to wait for an answer.
    """

    def __init__(self, patience: float = 3.0) -> None:
        self._asking, self._answering = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._asking.settimeout(patience)
        self._patience = patience
        self._turn = threading.Lock()
        self._number = 0

    def ask(self) -> Backlog | None:
        """Ask one of the web processes. Return None if none answers in time or the backlog is unknown."""
        if not self._turn.acquire(timeout=self._patience):
            return None
        try:
            self._number += 1
            self._asking.send(str(self._number).encode())
            while True:
                number, found = json.loads(self._asking.recv(_MAX_BYTES))
                if number == self._number:  # else a late answer to an earlier query
                    return Backlog(*found) if found else None
        except OSError as error:
            logger.debug("Backlog query failed: %s", error)
            return None
        finally:
            self._turn.release()

    def answer(self, read_backlog: ReadBacklog) -> None:
        """Start a daemon thread that answers queries until this web process ends."""

        def work() -> None:
            while True:
                number = int(self._answering.recv(_MAX_BYTES))
                self._answering.send(json.dumps([number, read_backlog()]).encode())

        threading.Thread(target=work, name="backlog", daemon=True).start()
