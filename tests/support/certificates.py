"""Fixtures of certificates: an authority, its file, and the contexts of servers."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme


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
