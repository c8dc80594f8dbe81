import ssl
import threading

import pytest
import trustme

from extension_kit.agent import Agent
from extension_kit.agent.connection import tls_context
from extension_kit.errors import ConfigurationError

EVENT = {"id": "1", "eventName": "user.invited"}


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def files(authority, tmp_path):
    """PEM files: the authority's certificate, another authority's, and a client's certificate and key."""
    client = authority.issue_cert("agent@example.com")
    paths = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "other", "cert", "key", "both", "garbage")}
    authority.cert_pem.write_to_path(paths["ca"])
    trustme.CA().cert_pem.write_to_path(paths["other"])
    client.cert_chain_pems[0].write_to_path(paths["cert"])
    client.private_key_pem.write_to_path(paths["key"])
    client.private_key_and_cert_chain_pem.write_to_path(paths["both"])
    (tmp_path / "garbage.pem").write_text("nothing of use")
    return paths


@pytest.fixture
def secure_extension(authority, start_extension):
    def start(*, ask_for_certificate=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        if ask_for_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            authority.configure_trust(context)
        return start_extension(tls=context)

    return start


def play(extension, **options):
    return Agent(extension.url, fast=True, **options).play([EVENT])


def test_basic_authentication(extension):
    extension.credentials = "agent:pässwörd:with colon"
    report = play(extension, credentials=("agent", "pässwörd:with colon"))
    assert report.ok
    assert report.accepted == 1


@pytest.mark.parametrize("credentials", [None, ("agent", "wrong-secret")])
def test_wrong_credentials_are_a_problem_that_does_not_repeat_them(extension, credentials):
    extension.credentials = "agent:right"
    report = play(extension, credentials=credentials)
    assert report.problems == [f"{extension.url} gives no registration document: 401 Wrong or missing credentials"]


def test_tls_with_a_certificate_of_our_own_authority(secure_extension, files):
    assert play(secure_extension(), tls=tls_context(ca=files["ca"])).accepted == 1


def test_insecure_accepts_any_certificate(secure_extension):
    assert play(secure_extension(), tls=tls_context(insecure=True)).accepted == 1


@pytest.mark.parametrize("client", [{"cert": "cert", "key": "key"}, {"cert": "both"}])
def test_client_certificates(secure_extension, files, client):
    tls = tls_context(ca=files["ca"], **{option: files[name] for option, name in client.items()})
    assert play(secure_extension(ask_for_certificate=True), tls=tls).accepted == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ca": "/does/not/exist"}, "cannot read certificates from /does/not/exist: No such file"),
        ({"ca": "garbage"}, "cannot read certificates from "),
        ({"cert": "/does/not/exist"}, "cannot use the client certificate /does/not/exist"),
        ({"cert": "garbage"}, "cannot use the client certificate "),
        ({"cert": "cert", "key": "/does/not/exist"}, "cannot use the client certificate "),
        ({"cert": "cert"}, "cannot use the client certificate "),
        ({"key": "key"}, "--client-cert"),
    ],
)
def test_files_that_are_of_no_use_are_named(files, options, message):
    with pytest.raises(ConfigurationError) as error:
        tls_context(**{option: files.get(name, name) for option, name in options.items()})
    assert message in str(error.value)


def test_an_encrypted_key_is_refused_instead_of_asking_at_the_terminal(authority, tmp_path, monkeypatch):
    from cryptography.hazmat.primitives import serialization

    client = authority.issue_cert("agent@example.com")
    key = serialization.load_pem_private_key(client.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    path = tmp_path / "encrypted.pem"
    path.write_bytes(encrypted + client.cert_chain_pems[0].bytes())
    with pytest.raises(ConfigurationError, match="cannot use the client certificate"):
        tls_context(cert=str(path))


AUTHORITY = "its certificate is of an authority that is not trusted here ("
LEFT = "it ends the connection before it answers: it may demand a certificate of the agent (--client-cert FILE), or not"


@pytest.mark.parametrize(
    ("served", "called", "options", "words"),
    [
        ("tls", "http", {}, "it speaks TLS at this port: call https://127.0.0.1:{port}"),
        ("mutual", "http", {}, "it speaks TLS at this port: call https://127.0.0.1:{port}"),
        (
            "plain",
            "https",
            {"ca": "ca"},
            "it speaks no TLS at this port: call http://127.0.0.1:{port}, or",
        ),
        ("tls", "https", {}, AUTHORITY),
        ("tls", "https", {"ca": "other"}, AUTHORITY),
        ("elsewhere", "https", {"ca": "ca"}, "its certificate is not accepted: IP address mismatch"),
        ("mutual", "https", {"ca": "ca"}, "it demands a certificate of the agent: give --client-cert FILE"),
        (
            "mutual",
            "https",
            {"ca": "ca", "cert": "stranger"},
            "it does not accept the agent's certificate (unknown ca): see --client-cert, and its log",
        ),
    ],
)
def test_what_is_wrong_with_tls_is_named(start_extension, authority, files, tmp_path, served, called, options, words):
    trustme.CA().issue_cert("agent").private_key_and_cert_chain_pem.write_to_path(tmp_path / "stranger.pem")
    files["stranger"] = str(tmp_path / "stranger.pem")
    context = None
    if served != "plain":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.2" if served == "elsewhere" else "127.0.0.1").configure_cert(context)
    if served == "mutual":
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    extension = start_extension(tls=context)
    extension.url = f"{called}://{extension.url.partition('://')[2]}"
    tls = tls_context(**{option: files[name] for option, name in options.items()}) if called == "https" else None
    (problem,) = play(extension, tls=tls).problems
    said = problem.removeprefix(f"{extension.url} does not answer: ")
    port = extension.url.rpartition(":")[2]
    # Whoever hangs up may do so before the reason has arrived.
    assert said.startswith((words.format(port=port), *([LEFT] if served == "mutual" and called == "https" else [])))


def test_an_extension_that_leaves_after_it_has_answered_is_not_said_to_speak_tls(extension):
    extension.answer = lambda request: None
    (refusal,) = play(extension).refusals
    assert "closed connection" in refusal.reason
    assert "TLS" not in refusal.reason


def test_unix_socket(start_extension, tmp_path):
    extension = start_extension(unix=str(tmp_path / "extension.sock"))
    report = play(extension)
    assert report.accepted == 1
    assert [request.path for request in extension.requests] == ["/", "/events/all"]


def test_a_unix_socket_that_is_not_there(tmp_path):
    path = tmp_path / "extension.sock"
    report = Agent(f"unix:{path}").play([EVENT])
    assert report.problems == [f"unix:{path} does not answer: No such file or directory"]


def test_an_extension_that_never_answers(extension):
    release = threading.Event()
    extension.index_reply = lambda number: (200, b"{}") if release.wait(30) else None
    report = play(extension, timeout=0.05)
    release.set()
    assert report.problems == [f"{extension.url} does not answer: no answer within 1.05 seconds"]


@pytest.mark.parametrize(
    "path", ["/ü", "/a b", "/a\r\nX: y", "/%zz", "//other.example.com/x", "/?a=b", "/#x", "/" + "x" * 5000]
)
def test_strange_paths_are_sent_to_this_extension_and_break_nothing(extension, path):
    extension.listen({"method": "POST", "path": path, "listenTo": ["*"]})
    report = play(extension)
    assert report.sent == 1
    assert all("\n" not in request.path and "x" not in request.headers for request in extension.requests)
