"""A way to a real PostgreSQL that can stop passing anything on, or greet clients as a connection pooler does."""

import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import make_url

_LONGEST = 60  # seconds


class Proxy:
    """A TCP proxy before a server.

    Args:
        url: of the server.
        pooler: whether to make up the number that a session greets its client with, as PgBouncer does.
    """

    def __init__(self, url: str, *, pooler: bool = False) -> None:
        parsed = make_url(url)
        host = parsed.host or str(parsed.query.get("host", "127.0.0.1"))
        self._onward = f"{host}/.s.PGSQL.{parsed.port or 5432}" if host.startswith("/") else (host, parsed.port or 5432)
        self._pooler = pooler
        self._open = threading.Event()
        self._open.set()
        self._ended = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        way = parsed.difference_update_query(["host"]).set(host="127.0.0.1", port=self._listening.getsockname()[1])
        self.url = way.render_as_string(hide_password=False)
        self.connections = 0
        self.round_trips = 0
        """How often a client has sent something after the server had."""
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Take connections and bytes, and pass nothing on, in neither direction."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def close(self) -> None:
        self._ended = True
        self._open.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            self._open.wait(_LONGEST)
            with socket.socket(socket.AF_UNIX if isinstance(self._onward, str) else socket.AF_INET) as server:
                server.settimeout(_LONGEST)
                server.connect(self._onward)
                greeting, last = self._pooler, server
                while not self._ended:
                    for end in select.select([client, server], [], [], 0.2)[0]:
                        data = end.recv(65536)
                        self._open.wait(_LONGEST)
                        if not data:
                            return
                        if end is server and greeting and (at := data.find(b"K\x00\x00\x00\x0c")) >= 0:
                            (pid,) = struct.unpack_from("!I", data, at + 5)
                            data = data[: at + 5] + struct.pack("!I", pid ^ 0x1234) + data[at + 9 :]
                            greeting = False
                        self.round_trips += end is client and last is server
                        last = end
                        (server if end is client else client).sendall(data)


@contextmanager
def proxy(url: str, *, pooler: bool = False) -> Iterator[Proxy]:
    """A proxy before a server, ended afterwards."""
    made = Proxy(url, pooler=pooler)
    try:
        yield made
    finally:
        made.close()
