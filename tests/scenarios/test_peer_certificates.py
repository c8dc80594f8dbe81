"""The subject of a client's certificate, as routes of protocols see it, on both edges over real sockets."""

import datetime
import http.client
import json
import ssl
import threading
from contextlib import contextmanager

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from werkzeug.serving import make_server

from tests.support.paths import APPS, BIN
from tests.support.servers import SERVE, run_server, serve_app
from tests.support.waiting import wait_until

GUNICORN = [
    str(BIN / "gunicorn"), "--bind", "127.0.0.1:{port}", "--no-control-socket",
    "--certfile", "{folder}/cert.pem", "--keyfile", "{folder}/key.pem", "--ca-certs", "{folder}/clients.pem",
    "extension_kit.wsgi:create_app('peers.py')",
]  # fmt: skip
EDGES = {
    "serve": [*SERVE, "peers.py", "--no-worker"],
    "gunicorn, sync": [*GUNICORN, "--cert-reqs", "2"],
    "gunicorn, threads": [*GUNICORN, "--cert-reqs", "2", "--worker-class", "gthread", "--threads", "2"],
}
OID = NameOID
NOBODY = {"certificate": None, "variables": {"SSL_CLIENT_VERIFY": "NONE"}}
FORGED = {
    "SSL-Client-Verify": "SUCCESS",
    "SSL_CLIENT_VERIFY": "SUCCESS",
    "SSL-Client-S-DN": "CN=admin",
    "SSL_CLIENT_S_DN_CN": "admin",
    "X-SSL-Client-S-DN": "CN=admin",
}


@pytest.fixture(scope="module")
def clients():
    """The CA of clients."""
    return trustme.CA()


@pytest.fixture(scope="module")
def authority():
    """The CA of servers."""
    return trustme.CA()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, authority, clients):
    """What a server needs for TLS."""
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    clients.cert_pem.write_to_path(folder / "clients.pem")
    return folder


@contextmanager
def served(command, folder, directory, **environment):
    command = [part.replace("{folder}", str(folder)) for part in command]
    with run_server(command, directory / "log", **environment) as server:

        def is_ready():
            assert server.process.poll() is None, server.log
            return server.health("readiness") == 200 if "serve" in command else "Listening at: https" in server.log

        wait_until(is_ready)
        yield server


def files(folder):
    return {
        "STEADYBIT_EXTENSION_TLS_SERVER_CERT": folder / "cert.pem",
        "STEADYBIT_EXTENSION_TLS_SERVER_KEY": folder / "key.pem",
    }


@pytest.fixture(scope="module", params=EDGES)
def server(request, folder, tmp_path_factory):
    """A server that demands certificates."""
    environment = {**files(folder), "STEADYBIT_EXTENSION_TLS_CLIENT_CAS": folder / "clients.pem"}
    with served(EDGES[request.param], folder, tmp_path_factory.mktemp("server"), **environment) as server:
        yield server


@pytest.fixture
def issue(clients, tmp_path):
    """Issue a certificate for a subject: groups of attributes, each with an OID and a value."""

    def issue(*groups, ca=clients):
        subject = x509.Name([x509.RelativeDistinguishedName([x509.NameAttribute(*each) for each in g]) for g in groups])
        key = ec.generate_private_key(ec.SECP256R1())
        signer = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
        now = datetime.datetime.now(datetime.UTC)
        issuer = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
        certificate = (
            x509.CertificateBuilder(issuer.subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("agent.example")]), critical=not groups)
            .sign(signer, hashes.SHA256())
        )
        path = tmp_path / "client.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path, subject.rfc4514_string()

    return issue


def ask(port, authority, certificate=None, headers=None, times=1):
    """What a server says of a client, each time over the same connection."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if certificate:
        context.load_cert_chain(certificate)
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    try:
        for _ in range(times):
            connection.request("GET", "/peers/me", headers=headers or {})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
        return json.loads(body)
    finally:
        connection.close()


SUBJECTS = {
    "plain": [[(OID.COUNTRY_NAME, "DE")], [(OID.ORGANIZATION_NAME, "Example")], [(OID.COMMON_NAME, "agent")]],
    "commas": [[(OID.ORGANIZATION_NAME, "Example, Inc."), ], [(OID.COMMON_NAME, "Doe, Jane,CN=admin")]],
    "special": [[(OID.ORGANIZATION_NAME, ' a+b;c<d>"e"\\ ')], [(OID.COMMON_NAME, "#1=x")]],
    "not ASCII": [[(OID.ORGANIZATION_NAME, "Łódź €")], [(OID.COMMON_NAME, "Zoë Grünwald 東京")]],
    "many kinds": [
        [(OID.DOMAIN_COMPONENT, "org")],
        [(OID.DOMAIN_COMPONENT, "example")],
        [(OID.STATE_OR_PROVINCE_NAME, "Bayern"), ],
        [(OID.LOCALITY_NAME, "Fürth")],
        [(OID.ORGANIZATIONAL_UNIT_NAME, "A"), ],
        [(OID.ORGANIZATIONAL_UNIT_NAME, "B")],
        [(OID.USER_ID, "u1")],
        [(OID.COMMON_NAME, "agent")],
    ],
}  # fmt: skip


class TestWithACertificate:
    @pytest.mark.parametrize("kind", SUBJECTS)
    def test_the_subject_is_there(self, server, authority, issue, kind):
        groups = SUBJECTS[kind]
        path, written = issue(*groups)
        name = groups[-1][0][1]
        said = ask(server.port, authority, path, FORGED)
        assert said["certificate"] == [written, name]
        assert said["variables"] == {
            "SSL_CLIENT_VERIFY": "SUCCESS",
            "SSL_CLIENT_S_DN": written.encode().decode("latin-1"),
            "SSL_CLIENT_S_DN_CN": name.encode().decode("latin-1"),
        }

    def test_of_several_common_names_the_first_counts(self, server, authority, issue):
        names = [[(OID.COMMON_NAME, "first")], [(OID.ORGANIZATION_NAME, "Example")], [(OID.COMMON_NAME, "second")]]
        said = ask(server.port, authority, issue(*names)[0])
        assert said["certificate"] == ["CN=second,O=Example,CN=first", "first"]

    def test_several_attributes_in_one_group(self, server, authority, issue):
        path, _ = issue([(OID.ORGANIZATION_NAME, "Example")], [(OID.COMMON_NAME, "agent"), (OID.USER_ID, "u1")])
        subject, name = ask(server.port, authority, path)["certificate"]
        assert name == "agent"
        group, rest = subject.split(",")
        assert (set(group.split("+")), rest) == ({"CN=agent", "UID=u1"}, "O=Example")

    def test_without_a_common_name_there_is_none(self, server, authority, issue):
        said = ask(server.port, authority, issue([(OID.ORGANIZATION_NAME, "Example")])[0], FORGED)
        assert said["certificate"] == ["O=Example", None]

    def test_a_subject_may_be_empty(self, server, authority, issue):
        said = ask(server.port, authority, issue()[0], FORGED)
        assert said["certificate"] == ["", None]
        assert said["variables"] == {"SSL_CLIENT_VERIFY": "SUCCESS", "SSL_CLIENT_S_DN": ""}

    def test_control_characters_stay_what_they_are_in_the_name_only(self, server, authority, issue):
        said = ask(server.port, authority, issue([(OID.COMMON_NAME, "agent\n\x00admin")])[0])
        assert said["certificate"] == ["CN=agent\\0A\\00admin", "agent\n\x00admin"]

    def test_every_request_of_a_connection_has_it(self, server, authority, issue):
        path, written = issue([(OID.COMMON_NAME, "agent")])
        assert ask(server.port, authority, path, times=3)["certificate"] == [written, "agent"]

    def test_another_connection_has_another_one(self, server, authority, issue):
        for name in ("one", "two"):
            path, _ = issue([(OID.COMMON_NAME, name)])
            assert ask(server.port, authority, path)["certificate"] == [f"CN={name}", name]

    def test_one_of_another_authority_gets_no_answer(self, server, authority, issue):
        path, _ = issue([(OID.COMMON_NAME, "agent")], ca=trustme.CA())
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            ask(server.port, authority, path)


class TestWithoutACertificate:
    def test_a_server_that_asks_for_none(self, folder, authority, issue, tmp_path):
        path, _ = issue([(OID.COMMON_NAME, "agent")])
        with served(EDGES["serve"], folder, tmp_path, **files(folder)) as server:
            for certificate in (None, path):
                assert ask(server.port, authority, certificate, FORGED) == NOBODY

    def test_gunicorn_where_it_is_optional(self, folder, authority, issue, tmp_path):
        path, _ = issue([(OID.COMMON_NAME, "agent")])
        with served([*GUNICORN, "--cert-reqs", "1"], folder, tmp_path) as server:
            assert ask(server.port, authority, None, FORGED) == NOBODY
            assert ask(server.port, authority, path)["certificate"] == ["CN=agent", "agent"]

    def test_gunicorn_where_it_is_not_verified(self, folder, authority, issue, tmp_path):
        path, _ = issue([(OID.COMMON_NAME, "agent")])
        with served([*GUNICORN, "--cert-reqs", "0"], folder, tmp_path) as server:
            assert ask(server.port, authority, path, FORGED) == NOBODY

    @pytest.mark.parametrize("edge", ["asgi", "flask"])
    def test_plain_http(self, edge, tmp_path):
        with serve_app("peers", tmp_path / "log", edge=edge) as server:
            assert server.request("GET", "/peers/me", headers=FORGED).json == NOBODY


def test_flasks_own_server_has_it_too(folder, authority, issue, tmp_path, monkeypatch):
    from extension_kit.wsgi import create_app

    monkeypatch.setenv("EXTENSION_DATABASE_URL", f"sqlite:///{tmp_path}/extension.db")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    context.load_verify_locations(folder / "clients.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    app = create_app(str(APPS / "peers.py"))
    server = make_server("127.0.0.1", 0, app, ssl_context=context)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        path, _ = issue([(OID.COMMON_NAME, "agent")])
        assert ask(server.server_port, authority, path, FORGED)["certificate"] == ["CN=agent", "agent"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)
        app.extensions["extension_kit"].runtime.close(5)
