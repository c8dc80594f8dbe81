"""Receivers that are closed after the test, and certificates."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.unit.senders.receivers import Receiver, Server


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.cert_pem.bytes())
    return str(path)


@pytest.fixture
def tls_for(authority: trustme.CA) -> Callable[..., ssl.SSLContext]:
    """The context of a server with a certificate for these names."""

    def make(*names: str, by: trustme.CA = authority) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        by.issue_cert(*names).configure_cert(context)
        return context

    return make


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    """Start receivers: ``receiver(tls=..., answer=...)``."""
    started: list[Receiver] = []

    def start(**options) -> Receiver:
        started.append(Receiver(**options))
        return started[-1]

    yield start
    for one in started:
        one.server.close()


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    """Start servers that do as a function says: ``server(talk)``."""
    started: list[Server] = []

    def start(talk, **options) -> Server:
        started.append(Server(talk, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()
