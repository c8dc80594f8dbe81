"""How the arbiter of a server learns from its workers how much there is to deliver."""

import json
import logging
import socket
import threading

from extension_kit.observability.metrics_page import Backlog, ReadBacklog

logger = logging.getLogger("extension_kit.server")

_MAX_BYTES = 256


class Inquiry:
    """A question of the arbiter, which one of the workers answers.

    The arbiter must not open the database itself: it forks, and neither SQLite's locks nor a client's connection
    survive that. Made before the workers are forked, who all wait at the same socket.

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
        """Ask one of the workers; None where none of them knows."""
        if not self._turn.acquire(timeout=self._patience):
            return None
        try:
            self._number += 1
            self._asking.send(str(self._number).encode())
            while True:
                number, found = json.loads(self._asking.recv(_MAX_BYTES))
                if number == self._number:  # else the answer to a question that nobody waits for any more
                    return Backlog(*found) if found else None
        except OSError as error:
            logger.debug("no worker knows the backlog: %s", error)
            return None
        finally:
            self._turn.release()

    def answer(self, read_backlog: ReadBacklog) -> None:
        """Answer from a thread of this process, a worker, until it ends."""

        def work() -> None:
            while True:
                number = int(self._answering.recv(_MAX_BYTES))
                self._answering.send(json.dumps([number, read_backlog()]).encode())

        threading.Thread(target=work, name="backlog", daemon=True).start()
