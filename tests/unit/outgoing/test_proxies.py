"""Ways through proxies: webhooks through the one of a setting, CronEye's events through those of the environment."""

import json
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import trustme

from extension_kit.apscheduler.connection import Connection
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.errors import ConfigurationError, SettingError
from extension_kit.outgoing.proxies import Proxy, proxy_of_environment
from extension_kit.senders import Outcome
from extension_kit.senders.addresses import Addresses
from extension_kit.senders.ca_files import CaFiles
from extension_kit.senders.http import HttpSender
from extension_kit.settings import Settings
from tests.support.receivers import TIMEOUT, Receiver, Server, drip, message, reply, silence
from tests.support.small_proxy import SmallProxy

Start = Callable[..., SmallProxy]
Receive = Callable[..., Receiver]
TlsFor = Callable[..., ssl.SSLContext]


@pytest.fixture
def small_proxy() -> Iterator[Start]:
    started: list[SmallProxy] = []

    def start(**options: object) -> SmallProxy:
        started.append(SmallProxy(**options))
        return started[-1]

    yield start
    for one in started:
        one.server.close()


def unresolved(host: str, port: int) -> Iterable[str]:
    raise AssertionError(f"{host} is the proxy's to resolve")


def make(proxy: str, ca_file: str | None = None) -> HttpSender:
    return HttpSender(Addresses((), unresolved), ca_file=ca_file, timeout=TIMEOUT, proxy=Proxy.parse(proxy))


@pytest.mark.parametrize("proxy_tls", [False, True], ids=["http proxy", "https proxy"])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_webhook_goes_through_the_proxy_again_and_again(
    small_proxy: Start, receiver: Receive, tls_for: TlsFor, ca_file: str, tls: bool, proxy_tls: bool
) -> None:
    there = receiver(tls=tls_for("receiver.test") if tls else None, answer=lambda request: reply(200, b"x" * 20_000))
    proxy = small_proxy(tls=tls_for("127.0.0.1") if proxy_tls else None, credentials="kit:pä@ss")
    sender = make(proxy.url("kit:p%C3%A4%40ss"), ca_file)
    body = b"[" + b"0," * 200_000 + b"0]"
    for _ in range(2):
        outcome = sender.send({"url": there.url("/hook"), "username": "anna", "password": "other"}, message(body=body))
        assert (outcome.result, outcome.status) == ("delivered", 200)
    sender.close()
    way = f"receiver.test:{there.port}"
    assert proxy.asked == ([f"CONNECT {way}"] if tls else [f"POST http://{way}/hook"] * 2)
    assert [(request.path, request.body, request.headers["host"]) for request in there.requests] == [
        ("/hook", body, way)
    ] * 2
    assert proxy.server.accepted == 1


def test_the_receiver_behind_the_proxy_is_verified(
    small_proxy: Start, receiver: Receive, tls_for: TlsFor, ca_file: str
) -> None:
    there, proxy = receiver(tls=tls_for("other.test")), small_proxy()
    outcome = make(proxy.url(), ca_file).send({"url": there.url()}, message())
    assert outcome.result == "failed"
    assert "certificate is not valid for" in outcome.error
    assert not there.requests


def test_authorities_of_a_target_are_for_its_receiver_and_not_for_the_proxy(
    small_proxy: Start, receiver: Receive, tls_for: TlsFor, ca_file: str, tmp_path: Path
) -> None:
    (tmp_path / "cas").mkdir()
    other = trustme.CA()
    (tmp_path / "cas" / "other.pem").write_bytes(other.cert_pem.bytes())
    there = receiver(tls=tls_for("receiver.test", by=other))
    proxy = Proxy.parse(small_proxy(tls=tls_for("127.0.0.1")).url())
    ca_files = CaFiles(str(tmp_path / "cas"))
    sender = HttpSender(Addresses((), unresolved), ca_file=ca_file, timeout=TIMEOUT, proxy=proxy, ca_files=ca_files)
    target = {"url": there.url(), "ca_file": "other.pem"}
    assert sender.send(target, message()) == Outcome("delivered", status=200)
    assert sender.send({"url": there.url()}, message()).result == "failed"
    sender.close()


def test_the_proxy_is_verified(small_proxy: Start, receiver: Receive, tls_for: TlsFor, ca_file: str) -> None:
    there, proxy = receiver(), small_proxy(tls=tls_for("127.0.0.1", by=trustme.CA()))
    outcome = make(proxy.url(), ca_file).send({"url": there.url()}, message())
    assert outcome.result == "failed"
    assert outcome.error.startswith("receiver.test: through the proxy 127.0.0.1: TLS: ")
    assert not proxy.asked


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_wrong_credentials_are_a_failure_and_seen_nowhere(
    small_proxy: Start, caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    proxy = small_proxy(credentials="kit:right")
    sender = make(proxy.url("kit:s3cret-word"))
    with caplog.at_level(logging.DEBUG):
        outcome = sender.send({"url": f"{scheme}://receiver.test/"}, message())
    assert outcome.result == "failed"
    assert "answered 407" in outcome.error
    hidden = Proxy.parse(proxy.url("kit:s3cret-word")).authorization.removeprefix("Basic ")
    text = repr(outcome) + repr(sender) + repr(Proxy.parse(proxy.url("kit:s3cret-word"))) + caplog.text
    assert "s3cret-word" not in text
    assert hidden not in text


def open_and_drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    connection.recv(65536)
    drip(b"\x16\x03\x03\x40\x00")(connection)  # a handshake that never is complete


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda connection: connection.sendall(reply(502)), "the proxy 127.0.0.1 answered 502"),
        (lambda connection: connection.sendall(b"SSH-2.0\r\n"), "the proxy 127.0.0.1 does not answer in HTTP"),
        (drip(b"HTTP/1.1 200 OK\r\nX-Long: "), "through the proxy 127.0.0.1: timed out"),
        (open_and_drip, "through the proxy 127.0.0.1: timed out"),
        (silence, "through the proxy 127.0.0.1: timed out"),
    ],
    ids=["502", "not HTTP", "drips", "drips later", "silence"],
)
def test_a_proxy_that_opens_no_way_is_named(server: Callable[..., Server], answer: object, error: str) -> None:
    there = server(lambda connection: (connection.recv(65536), answer(connection)))
    target = {"url": "https://receiver.test/", "timeout": 0.4}
    outcome = make(f"http://127.0.0.1:{there.port}").send(target, message())
    assert (outcome.result, outcome.error) == ("failed", f"receiver.test: {error}")


def test_a_proxy_that_is_not_there_is_named(small_proxy: Start) -> None:
    proxy = small_proxy()
    proxy.server.close()
    outcome = make(proxy.url()).send({"url": "http://receiver.test/"}, message())
    assert outcome.error == "receiver.test: through the proxy 127.0.0.1: Connection refused"


# The setting


def test_the_setting_names_the_proxy(small_proxy: Start, receiver: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    there, proxy = receiver(), small_proxy(credentials="kit:s3cret")
    monkeypatch.setenv("EXTENSION_DELIVERY_PROXY", proxy.url("kit:s3cret"))
    settings = Settings.from_environment()
    senders = Senders(settings)
    assert senders.get("http").send({"url": there.url()}, message()).result == "delivered"
    senders.close()
    assert len(proxy.asked) == 1
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "proxy:3128",
        "socks5://kit:s3cret@proxy:1080",
        "http://kit:s3cret@",
        "http://kit:s3cret@proxy:port",
        "http://kit:s3cret@proxy/path",
        "http://kit:s3cret@proxy?x",
    ],
)
def test_a_setting_that_names_no_proxy_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("EXTENSION_DELIVERY_PROXY", url)
    with pytest.raises(SettingError, match="EXTENSION_DELIVERY_PROXY is set to something else: http://USER") as raised:
        Settings.from_environment()
    assert "s3cret" not in str(raised.value)


# The environment

PROXY = "http://proxy.test:3128"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    def set_all(variables: dict[str, str]) -> None:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.mark.parametrize(
    ("variables", "scheme", "host", "found"),
    [
        ({}, "http", "croneye", False),
        ({"HTTP_PROXY": PROXY}, "http", "croneye", True),
        ({"http_proxy": PROXY}, "http", "croneye", True),
        ({"http_proxy": "proxy.test:3128"}, "http", "croneye", True),
        ({"HTTP_PROXY": PROXY}, "https", "croneye", False),
        ({"HTTPS_PROXY": PROXY}, "https", "croneye", True),
        ({"https_proxy": PROXY}, "https", "croneye", True),
        ({"ALL_PROXY": PROXY}, "https", "croneye", True),
        ({"http_proxy": PROXY, "HTTP_PROXY": "http://other:1"}, "http", "croneye", True),
        ({"http_proxy": "", "HTTP_PROXY": PROXY}, "http", "croneye", False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "*"}, "http", "croneye", False),
        ({"HTTP_PROXY": PROXY, "no_proxy": "a.test, .svc.local"}, "http", "croneye.svc.local", False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "CronEye"}, "http", "croneye", False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "croneye:8080"}, "http", "croneye", False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "croneye:8081"}, "http", "croneye", True),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "eye"}, "http", "croneye", True),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "http", "10.1.2.3", False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8,,x/y"}, "http", "11.1.2.3", True),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "::1,fd00::/8"}, "http", "fd00::1", False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "::1,fd00::/8"}, "http", "::1", False),
    ],
)
def test_which_proxy_the_environment_names(
    environment: Callable[[dict[str, str]], None], variables: dict[str, str], scheme: str, host: str, found: bool
) -> None:
    environment(variables)
    assert proxy_of_environment(scheme, host, 8080) == (Proxy.parse(PROXY) if found else None)


@pytest.mark.parametrize("upper", [True, False])
@pytest.mark.parametrize("tls", [True, False])
def test_events_of_apscheduler_go_through_the_proxy_of_the_environment(
    environment: Callable[[dict[str, str]], None],
    small_proxy: Start,
    receiver: Receive,
    tls_for: TlsFor,
    ca_file: str,
    upper: bool,
    tls: bool,
) -> None:
    there = receiver(tls=tls_for("croneye.test") if tls else None)
    proxy = small_proxy(credentials="kit:s3cret")
    name = f"http{'s' if tls else ''}_proxy"
    environment({name.upper() if upper else name: proxy.url("kit:s3cret")})
    connection = Connection(there.url(host="croneye.test"), "token", timeout=TIMEOUT, ca_file=ca_file)
    assert [connection.post(json.dumps(number).encode()).result for number in range(2)] == ["delivered"] * 2
    connection.close()
    assert len(proxy.asked) == (1 if tls else 2)
    assert [request.path for request in there.requests] == ["/event"] * 2


def test_events_of_apscheduler_spare_the_proxy_where_the_environment_says_so(
    environment: Callable[[dict[str, str]], None], receiver: Receive
) -> None:
    there = receiver()
    environment({"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.0/8"})
    connection = Connection(there.url(host="127.0.0.1"), "token", timeout=TIMEOUT, ca_file=None)
    assert connection.post(b"{}").result == "delivered"
    connection.close()


def test_a_proxy_of_the_environment_that_is_none_is_told_without_its_password(
    environment: Callable[[dict[str, str]], None],
) -> None:
    environment({"HTTP_PROXY": "socks5://kit:s3cret@proxy:1080"})
    with pytest.raises(ConfigurationError, match="HTTP_PROXY") as raised:
        Connection("http://croneye:8080", "token", timeout=1, ca_file=None)
    assert "s3cret" not in str(raised.value)
