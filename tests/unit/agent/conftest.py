"""Fake extensions for agents to call."""

import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest

from tests.unit.agent.fake_extension import ALL, FakeExtension, Handler, UnixServer


@pytest.fixture
def start_extension() -> Iterator[Callable[..., FakeExtension]]:
    """Starts fake extensions: plain, with TLS, or on a unix socket."""
    servers = []

    def start(
        *listeners: dict[str, Any], tls: ssl.SSLContext | None = None, unix: str | None = None, port: int = 0
    ) -> FakeExtension:
        handler = type("Handler", (Handler,), {})
        server: Any
        if unix:
            server, url = UnixServer(unix, handler), f"unix:{unix}"
        else:
            server = ThreadingHTTPServer(("127.0.0.1", port), handler)
            url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        server.daemon_threads = True
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda *_: None
        handler.extension = FakeExtension(server, url, {"eventListeners": list(listeners or [ALL])})
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return handler.extension

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def extension(start_extension: Callable[..., FakeExtension]) -> FakeExtension:
    return start_extension()
