"""The TLS context, in real servers on both event loops, with real handshakes."""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
import uvloop

from extension_kit.errors import ConfigurationError
from extension_kit.server import client_mistakes as mistakes
from extension_kit.server.tls import server_context
from tests.support.waiting import wait_until

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
REFUSED = (ssl.SSLError, ConnectionError)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    return request.param


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Signs the servers' certificates."""
    return trustme.CA()


@pytest.fixture(scope="module")
def agents() -> trustme.CA:
    """Signs the clients' certificates."""
    return trustme.CA()


@pytest.fixture
def pair(tmp_path: Path, authority: trustme.CA) -> tuple[Path, Path]:
    return write_pair(tmp_path, authority.issue_cert("localhost"))


def write_pair(folder: Path, issued: trustme.LeafCert) -> tuple[Path, Path]:
    cert, key = folder / "tls.crt", folder / "tls.key"
    replace(cert, b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    replace(key, issued.private_key_pem.bytes())
    return cert, key


def replace(path: Path, content: bytes) -> None:
    new = path.with_name("new")
    new.write_bytes(content)
    os.replace(new, path)


def der(issued: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


@contextlib.contextmanager
def echoing(context: ssl.SSLContext, loop_factory: LoopFactory = asyncio.new_event_loop) -> Iterator[int]:
    """A server that sends back four bytes. Yields its port."""
    ports: list[int] = []
    started = threading.Event()
    stop: list[Callable[[], object]] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            writer.write(await reader.readexactly(4))
            await writer.drain()
        writer.close()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()

    async def serve() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)  # refused handshakes are what many of these tests are about
        stop.append(lambda: loop.call_soon_threadsafe(stopped.set))
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        started.set()
        await stopped.wait()
        server.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(10)
    try:
        yield ports[0]
    finally:
        stop[0]()
        thread.join(10)


class Client:
    """A client that trusts `authority` and shows the certificate `issued`, if there is one."""

    def __init__(self, authority: trustme.CA, issued: trustme.LeafCert | None = None, *, sni: bool = True) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = sni
        authority.configure_trust(self.context)
        if issued:
            issued.configure_cert(self.context)
        self.hostname = "localhost" if sni else None
        self.session: ssl.SSLSession | None = None
        self.resumed: bool | None = None

    def exchange(self, port: int) -> bytes:
        """Connect and have four bytes sent back. Returns the server's certificate, raises one of REFUSED."""
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            self.context.wrap_socket(plain, server_hostname=self.hostname, session=self.session) as connection,
        ):
            connection.sendall(b"ping")
            if connection.recv(4) != b"ping":
                raise ConnectionError("closed by the server")
            self.session, self.resumed = connection.session, connection.session_reused
            return connection.getpeercert(binary_form=True) or b""


def test_serves_the_certificate(loop_factory: LoopFactory, tmp_path: Path, authority: trustme.CA) -> None:
    issued = authority.issue_cert("localhost")
    cert, key = write_pair(tmp_path, issued)

    with echoing(server_context(str(cert), str(key)), loop_factory) as port:
        assert Client(authority).exchange(port) == der(issued)


def test_refuses_tls_older_than_1_2(pair: tuple[Path, Path]) -> None:
    context = server_context(*map(str, pair))

    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_client_certificates(
    loop_factory: LoopFactory, tmp_path: Path, pair: tuple[Path, Path], authority: trustme.CA, agents: trustme.CA
) -> None:
    agents.cert_pem.write_to_path(tmp_path / "agents.pem")
    context = server_context(*map(str, pair), [str(tmp_path / "agents.pem")])

    with echoing(context, loop_factory) as port:
        Client(authority, agents.issue_cert("agent")).exchange(port)
        with pytest.raises(REFUSED):
            Client(authority).exchange(port)
        with pytest.raises(REFUSED):
            Client(authority, authority.issue_cert("agent")).exchange(port)


@pytest.mark.parametrize(
    ("client", "says"),
    [
        (
            "plain",
            "A client speaks plain HTTP to the extension port, which has TLS: register the extension with https://",
        ),
        ("distrusts", "A client does not trust the certificate in STEADYBIT_EXTENSION_TLS_SERVER_CERT"),
        ("nothing", "A client shows no certificate, and STEADYBIT_EXTENSION_TLS_CLIENT_CAS requires one"),
        (
            "stranger",
            "A client's certificate is not signed by a CA in STEADYBIT_EXTENSION_TLS_CLIENT_CAS: "
            "unable to get local issuer certificate",
        ),
    ],
)
def test_what_clients_get_wrong_is_said_once(
    loop_factory: LoopFactory,
    tmp_path: Path,
    pair: tuple[Path, Path],
    authority: trustme.CA,
    agents: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    client: str,
    says: str,
) -> None:
    monkeypatch.setattr(mistakes, "_logged", {})
    agents.cert_pem.write_to_path(tmp_path / "agents.pem")
    cas = [str(tmp_path / "agents.pem")] if client in ("nothing", "stranger") else []
    trusts = trustme.CA() if client == "distrusts" else authority
    shown = trustme.CA().issue_cert("agent") if client == "stranger" else None

    def call(port: int) -> None:
        if client != "plain":
            with pytest.raises(REFUSED):
                Client(trusts, shown).exchange(port)
            return
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, contextlib.suppress(OSError):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"HTTP" not in connection.recv(100)

    with echoing(server_context(*map(str, pair), cas), loop_factory) as port:
        call(port)
        write_pair(tmp_path, authority.issue_cert("localhost"))
        monkeypatch.setattr(mistakes, "_logged", {})
        caplog.clear()
        for _ in range(3):
            call(port)
        wait_until(lambda: caplog.records)

    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith("extension_kit")]
    assert message.startswith(says)
    assert "\n" not in message


@pytest.mark.parametrize(("pause", "lines"), [(3600.0, 1), (0.0, 3)])
def test_a_mistake_that_goes_on_is_said_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, pause: float, lines: int
) -> None:
    monkeypatch.setattr(mistakes, "_logged", {})
    for _ in range(3):
        mistakes.warn("It is wrong", pause=pause)
    assert len(caplog.records) == lines


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("shows", "told"),
    [
        (False, {"SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV13_ALERT_CERTIFICATE_REQUIRED"}),
        (True, {"TLSV1_ALERT_UNKNOWN_CA"}),
    ],
)
def test_clients_are_told_what_is_wrong_with_their_certificate(
    loop_factory: LoopFactory,
    tmp_path: Path,
    pair: tuple[Path, Path],
    authority: trustme.CA,
    agents: trustme.CA,
    version: ssl.TLSVersion,
    shows: bool,
    told: set[str],
) -> None:
    agents.cert_pem.write_to_path(tmp_path / "agents.pem")
    client = Client(authority, trustme.CA().issue_cert("agent") if shows else None)
    client.context.maximum_version = version

    with echoing(server_context(*map(str, pair), [str(tmp_path / "agents.pem")]), loop_factory) as port:
        with pytest.raises(ssl.SSLError) as refused:
            client.exchange(port)
        assert refused.value.reason in told
        Client(authority, agents.issue_cert("agent")).exchange(port)


def test_client_cas_in_directories(
    tmp_path: Path, pair: tuple[Path, Path], authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    deep, single, unknown = trustme.CA(), trustme.CA(), trustme.CA()
    folder = tmp_path / "cas" / "team" / "a"
    folder.mkdir(parents=True)
    deep.cert_pem.write_to_path(folder / "deep.pem")
    single.cert_pem.write_to_path(tmp_path / "single.pem")
    (tmp_path / "cas" / "README").write_text("no certificate")
    os.mkfifo(tmp_path / "cas" / "pipe")  # to open it would block for ever

    context = server_context(
        *map(str, pair), [str(tmp_path / "cas"), str(tmp_path / "single.pem"), str(tmp_path / "missing.pem")]
    )

    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert "README" in warnings[0]
    assert "missing.pem" in warnings[1]
    assert "No such file" in warnings[1]
    with echoing(context) as port:
        Client(authority, deep.issue_cert("agent")).exchange(port)
        Client(authority, single.issue_cert("agent")).exchange(port)
        with pytest.raises(REFUSED):
            Client(authority, unknown.issue_cert("agent")).exchange(port)


def test_an_intermediate_ca_is_trusted_without_its_root(
    tmp_path: Path, pair: tuple[Path, Path], authority: trustme.CA, agents: trustme.CA
) -> None:
    intermediate = agents.create_child_ca()
    intermediate.cert_pem.write_to_path(tmp_path / "intermediate.pem")
    context = server_context(*map(str, pair), [str(tmp_path / "intermediate.pem")])

    with echoing(context) as port:
        Client(authority, intermediate.issue_cert("agent")).exchange(port)
        with pytest.raises(REFUSED):
            Client(authority, agents.issue_cert("agent")).exchange(port)


ENCRYPTED_KEY = b"""\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,7A5E0C2BB8FA3C1B6D3E5F0A9C8B7D6E

AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
-----END EC PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    ("broken", "content", "names", "says"),
    [
        ("tls.crt", None, ["TLS_SERVER_CERT", "tls.crt"], "No such file"),
        ("tls.key", None, ["TLS_SERVER_KEY", "tls.key"], "No such file"),
        ("tls.crt", b"", ["TLS_SERVER_CERT", "tls.crt"], "not a PEM file"),
        ("tls.key", b"\x30\x82\x01", ["TLS_SERVER_KEY", "tls.key"], "not a PEM file"),
        ("tls.crt", b"-----BEGIN CERTIFICATE-----\nMIIB", ["TLS_SERVER_CERT", "tls.crt"], "not valid PEM"),
        ("tls.key", b"-----BEGIN PRIVATE KEY-----\nMIGH", ["TLS_SERVER_KEY", "tls.key"], "not valid PEM"),
        ("tls.key", ENCRYPTED_KEY, ["TLS_SERVER_KEY", "tls.key"], "passphrase"),
        (
            "tls.key",
            trustme.CA().issue_cert("localhost").private_key_pem.bytes(),
            ["TLS_SERVER_CERT", "tls.crt", "TLS_SERVER_KEY", "tls.key"],
            "key values mismatch",
        ),
    ],
)
def test_an_unusable_pair_is_refused(
    pair: tuple[Path, Path], broken: str, content: bytes | None, names: list[str], says: str
) -> None:
    path = pair[0].with_name(broken)
    path.unlink() if content is None else path.write_bytes(content)

    with pytest.raises(ConfigurationError) as refused:
        server_context(*map(str, pair))

    message = str(refused.value)
    assert all(name in message for name in names)
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_client_cas_without_a_certificate_are_refused(
    tmp_path: Path, pair: tuple[Path, Path], content: bytes | None
) -> None:
    cas = tmp_path / "cas"
    cas.mkdir()
    if content:
        (cas / "ca.pem").write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"TLS_CLIENT_CAS: no certificate in .*cas"):
        server_context(*map(str, pair), [str(cas)])


@pytest.mark.parametrize("sni", [True, False], ids=["sni", "no-sni"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_renewed_pair_is_served_without_a_restart(
    loop_factory: LoopFactory, tmp_path: Path, authority: trustme.CA, sni: bool, version: ssl.TLSVersion
) -> None:
    old, new = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    cert, key = write_pair(tmp_path, old)
    client = Client(authority, sni=sni)
    client.context.maximum_version = version

    with echoing(server_context(str(cert), str(key)), loop_factory) as port:
        assert client.exchange(port) == der(old)
        write_pair(tmp_path, new)
        assert client.exchange(port) == der(new)


def test_kubernetes_renews_by_swapping_a_link(tmp_path: Path, authority: trustme.CA, agents: trustme.CA) -> None:
    old, new = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    renewed_agents = trustme.CA()

    def mount(name: str, issued: trustme.LeafCert, ca: trustme.CA) -> None:
        (tmp_path / name).mkdir()
        write_pair(tmp_path / name, issued)
        ca.cert_pem.write_to_path(tmp_path / name / "ca.crt")
        (tmp_path / "..data_tmp").symlink_to(name)
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")

    mount("..2026_01_01", old, agents)
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    cas = tmp_path / "cas"
    cas.mkdir()
    (cas / "ca.crt").symlink_to(tmp_path / "ca.crt")
    before, after = agents.issue_cert("agent"), renewed_agents.issue_cert("agent")

    with echoing(server_context(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"), [str(cas)])) as port:
        assert Client(authority, before).exchange(port) == der(old)
        mount("..2026_02_02", new, renewed_agents)
        assert Client(authority, after).exchange(port) == der(new)
        with pytest.raises(REFUSED):
            Client(authority, before).exchange(port)


def test_directories_of_kubernetes_are_not_read_twice(
    tmp_path: Path, pair: tuple[Path, Path], agents: trustme.CA, authority: trustme.CA
) -> None:
    retired = trustme.CA()
    cas = tmp_path / "cas"
    for name, ca in (("..2026_01_01", retired), ("..2026_02_02", agents)):
        (cas / name).mkdir(parents=True)
        ca.cert_pem.write_to_path(cas / name / "ca.crt")
    (cas / "..data").symlink_to("..2026_02_02")
    (cas / "ca.crt").symlink_to(Path("..data") / "ca.crt")

    with echoing(server_context(*map(str, pair), [str(cas)])) as port:
        Client(authority, agents.issue_cert("agent")).exchange(port)
        with pytest.raises(REFUSED):
            Client(authority, retired.issue_cert("agent")).exchange(port)


def test_client_cas_come_and_go_without_a_restart(
    loop_factory: LoopFactory, tmp_path: Path, pair: tuple[Path, Path], authority: trustme.CA, agents: trustme.CA
) -> None:
    others = trustme.CA()
    cas = tmp_path / "cas"
    cas.mkdir()
    agents.cert_pem.write_to_path(cas / "agents.pem")
    agent, other = Client(authority, agents.issue_cert("agent")), Client(authority, others.issue_cert("agent"))

    with echoing(server_context(*map(str, pair), [str(cas)]), loop_factory) as port:
        agent.exchange(port)
        with pytest.raises(REFUSED):
            other.exchange(port)

        others.cert_pem.write_to_path(cas / "others.pem")
        other.exchange(port)

        (cas / "agents.pem").unlink()
        agent.session = None
        with pytest.raises(REFUSED):
            agent.exchange(port)
        other.exchange(port)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_does_not_outlive_its_ca(
    loop_factory: LoopFactory,
    tmp_path: Path,
    pair: tuple[Path, Path],
    authority: trustme.CA,
    agents: trustme.CA,
    version: ssl.TLSVersion,
) -> None:
    cas = tmp_path / "cas.pem"
    agents.cert_pem.write_to_path(cas)
    agent = Client(authority, agents.issue_cert("agent"))
    agent.context.maximum_version = version

    with echoing(server_context(*map(str, pair), [str(cas)]), loop_factory) as port:
        agent.exchange(port)
        agent.exchange(port)
        assert agent.resumed  # which is what makes the rest of this test mean something

        replace(cas, trustme.CA().cert_pem.bytes())
        with pytest.raises(REFUSED):
            agent.exchange(port)


def test_a_half_written_pair_is_not_used(
    loop_factory: LoopFactory, tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    old, new = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    cert, key = write_pair(tmp_path, old)
    new_cert = new.cert_chain_pems[0].bytes()

    with echoing(server_context(str(cert), str(key)), loop_factory) as port:
        for step, (path, content) in enumerate([(cert, new_cert[:300]), (cert, new_cert), (key, b"")], start=1):
            path.write_bytes(content)
            assert Client(authority).exchange(port) == der(old)
            assert Client(authority).exchange(port) == der(old)
            assert [record.levelname for record in caplog.records] == ["WARNING"] * step

        key.write_bytes(new.private_key_pem.bytes())
        assert Client(authority).exchange(port) == der(new)
        assert caplog.records[-1].levelname == "INFO"


def test_a_removed_file_changes_nothing(pair: tuple[Path, Path], authority: trustme.CA) -> None:
    with echoing(server_context(*map(str, pair))) as port:
        served = Client(authority).exchange(port)
        pair[0].unlink()
        assert Client(authority).exchange(port) == served


def test_blocking_servers_follow_the_files_too(tmp_path: Path, authority: trustme.CA) -> None:
    old, new = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    cert, key = write_pair(tmp_path, old)
    context = server_context(str(cert), str(key))

    def answer(listening: socket.socket) -> None:
        accepted, _ = listening.accept()
        with accepted, context.wrap_socket(accepted, server_side=True) as connection:
            connection.sendall(connection.recv(4))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        for issued in (old, new):
            write_pair(tmp_path, issued)
            thread = threading.Thread(target=answer, args=(listening,))
            thread.start()
            assert Client(authority).exchange(listening.getsockname()[1]) == der(issued)
            thread.join(10)
