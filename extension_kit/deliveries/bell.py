"""Bell: tells a worker on the same machine that there is something to do, without either of them waiting.

On Linux it is a datagram socket with a name that is no file. The worker sleeps until a datagram arrives; looking into a
file for changes would cost it CPU time all the time, and the events up to the next look.
"""

import contextlib
import select
import socket
import sys
import time
from pathlib import Path

_UNHEARD = 0.02  # seconds between two looks where there are no such sockets, or another process has the name


class Bell:
    """A bell that any process may ring, and that one process hears.

    Args:
        path: of a file; the bell belongs to this file, by whatever path others know it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ringing: socket.socket | None = None
        self._hearing: socket.socket | None = None

    def ring(self) -> None:
        """Ring. It does nothing while nobody listens, and never waits."""
        is_first = self._ringing is None
        try:
            if self._ringing is None:
                self._ringing = _opened()
                self._ringing.connect(self._name())
            self._ringing.send(b"!")
        except BlockingIOError:  # it rings
            pass
        except OSError:  # nobody listens, or no longer the process that did
            self._ringing = _closed(self._ringing)
            if not is_first:
                self.ring()

    def wait(self, seconds: float) -> None:
        """Wait until it rings, or that long. One thread of one process may do so.

        It does not wait the first time, because it may have rung before.
        """
        if self._hearing is None:
            try:
                self._hearing = _opened()
                self._hearing.bind(self._name())
            except OSError:
                self._hearing = _closed(self._hearing)
                time.sleep(min(seconds, _UNHEARD))
            return
        poll = select.poll()
        poll.register(self._hearing, select.POLLIN)
        if poll.poll(seconds * 1000):
            with contextlib.suppress(BlockingIOError):
                while True:
                    self._hearing.recv(1)

    def close(self) -> None:
        """Close the sockets; they can be used again."""
        self._ringing, self._hearing = _closed(self._ringing), _closed(self._hearing)

    def _name(self) -> bytes:
        file = self._path.stat()
        return f"\0extension-kit-bell-{file.st_dev}-{file.st_ino}".encode()


def _opened() -> socket.socket:
    if sys.platform != "linux":
        raise OSError("names of sockets are files here")
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    opened.setblocking(False)
    return opened


def _closed(used: socket.socket | None) -> socket.socket | None:
    """Close a socket, and return None, which takes its place."""
    if used is not None:
        used.close()
    return None
