"""Senders that behave like an agent under trouble, and what the ledger says of the events they were answered 200."""

import http.client
import json
import random
import threading
from collections.abc import Callable
from contextlib import ExitStack, contextmanager

from tests.support.servers import Reply, Served
from tests.support.waiting import wait_until

_LAST = 20  # accepted events, of which one is sent again


class Sender(threading.Thread):
    """Sends the events of one experiment run in order over one connection, each until it is answered with 200.

    Args:
        server: to send to; a new connection is made by its ``connect``.
        event: the factory of events.
        path: to send to.
        key: of the experiment run; the ids of the events begin with it.
        most: number of events; None: until ``end``.
        pause: seconds after each accepted event.
        on_accepted: called with the id of each event that was answered with 200, in the sender's thread.
        again: share of accepted events after which one of the last ones is sent again, over a new connection.
    """

    def __init__(
        self,
        server: Served,
        event,
        path: str,
        key: object,
        *,
        most: int | None = None,
        pause: float = 0,
        on_accepted: Callable[[str], object] = lambda event_id: None,
        again: float = 0,
    ):
        super().__init__(daemon=True)
        self._server = server
        self._event = event
        self._path = path
        self._key = key
        self._most = most
        self._pause = pause
        self._on_accepted = on_accepted
        self._again = again
        self._ending = threading.Event()
        self._connection = server.connect()
        self.accepted: list[str] = []
        self.refused: list[Reply] = []
        self.repeated = 0
        """Number of events that were answered with 200 when they were sent again."""

    def run(self) -> None:
        while not self._ending.is_set() and (self._most is None or len(self.accepted) < self._most):
            event_id = f"{self._key}-{len(self.accepted)}"
            if self._send(event_id):
                self.accepted.append(event_id)
                self._on_accepted(event_id)
                if random.random() < self._again:
                    self._reconnect()
                    self.repeated += self._send(random.choice(self.accepted[-_LAST:]))
                self._ending.wait(self._pause)
        self._connection.close()

    def _send(self, event_id: str) -> bool:
        """Send an event; return True if it was answered with 200."""
        body = json.dumps(self._event("experiment.execution.created", id=event_id, execution_id=self._key))
        try:
            self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            reply = Reply(response.status, headers, response.read())
        except (OSError, http.client.HTTPException):
            self._reconnect()
        else:
            if reply.status == 200:
                return True
            self.refused.append(reply)
        self._ending.wait(0.05)  # as a sender does that is not to overrun a server in trouble
        return False

    def _reconnect(self) -> None:
        self._connection.close()
        self._connection = self._server.connect()

    def end(self) -> None:
        self._ending.set()
        self.join(60)
        assert not self.is_alive()


class Load:
    """Several senders at once."""

    def __init__(self, senders: list[Sender]):
        self._senders = senders

    @property
    def accepted(self) -> list[str]:
        return [event_id for sender in self._senders for event_id in sender.accepted]

    @property
    def repeated(self) -> int:
        return sum(sender.repeated for sender in self._senders)

    @property
    def refused(self) -> list[Reply]:
        return [reply for sender in self._senders for reply in sender.refused]

    def wait_for_more(self, number: int = 10) -> None:
        """Wait until so many events more have been answered with 200."""
        before = len(self.accepted)
        wait_until(lambda: len(self.accepted) >= before + number)

    def wait(self) -> None:
        """Wait until every sender has sent all of its events."""
        for sender in self._senders:
            sender.join(60)
            assert not sender.is_alive()


@contextmanager
def load(server: Served, event, path: str, *, keys=3, **options):
    """Send from as many senders as there are keys, until the end of the block."""
    names = range(keys) if isinstance(keys, int) else keys
    senders = [Sender(server, event, path, key, **options) for key in names]
    with ExitStack() as stack:
        for sender in senders:
            sender.start()
            stack.callback(sender.end)
        yield Load(senders)
