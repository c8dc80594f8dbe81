"""Where a server listens, on machines with and without IPv6, and what is said of ports that are taken."""

import errno
import socket
import subprocess
import sys
import textwrap

import pytest

from extension_kit.errors import ConfigurationError
from extension_kit.server import listen
from extension_kit.settings.kit import Settings

# A machine whose kernel makes no IPv6 sockets: this process, after it has told its own kernel so (seccomp(2)).
WITHOUT_IPV6 = """
import ctypes, platform, socket, struct

SOCKET_CALL = {"x86_64": 41, "aarch64": 198}[platform.machine()]
load, jump_if_equal, give = 0x20, 0x15, 0x06
rules = [
    (load, 0, 0, 0), (jump_if_equal, 0, 3, SOCKET_CALL),
    (load, 0, 0, 16), (jump_if_equal, 0, 1, socket.AF_INET6),
    (give, 0, 0, 0x00050000 | 97),  # EAFNOSUPPORT
    (give, 0, 0, 0x7FFF0000),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) == 0
try:
    socket.socket(socket.AF_INET6)
except OSError:
    pass
else:
    raise AssertionError("IPv6 is still there")
"""


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


BOUND = """
import errno
import socket
from extension_kit.server.listen import bind, health_port
from extension_kit.settings.kit import Settings

settings = Settings(port=0, health_port=0)
addresses, listening_on = bind(settings)
server = health_port(settings, lambda: True, lambda: None, tuple)
server.start()
assert socket.create_connection(("127.0.0.1", server.port), timeout=30)
print(addresses[0].rpartition(":")[0], listening_on.partition("(")[2])
server.stop()
"""


def test_every_address_of_both_families_is_the_default():
    assert run(BOUND) == "[::] IPv4 and IPv6)"


def test_a_machine_without_ipv6_listens_all_the_same():
    assert run(WITHOUT_IPV6 + BOUND) == "0.0.0.0 IPv4, this machine has no IPv6)"


def test_a_machine_that_keeps_the_families_apart_has_a_socket_for_each(monkeypatch):
    """As with net.ipv6.bindv6only=1, which is the machine's and not for a test to change."""

    class Apart(socket.socket):
        def __init__(self, family, *rest):
            super().__init__(family, *rest)
            if family == socket.AF_INET6:
                self.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)

    monkeypatch.setattr(socket, "socket", Apart)
    addresses, listening_on = listen.bind(Settings(port=0))
    (ipv4, port), (ipv6, same_port) = (address.rsplit(":", 1) for address in addresses)
    assert (ipv4, ipv6, port) == ("0.0.0.0", "[::]", same_port)
    assert f"on port {port} (IPv4 and IPv6)" in listening_on


@pytest.mark.parametrize("taken", ["0.0.0.0", "127.0.0.1", "::", "::1"])
@pytest.mark.parametrize(
    "what", [listen.bind, lambda settings: listen.health_port(settings, bool, lambda: None, tuple)]
)
def test_a_port_that_is_taken_at_one_address_is_taken(taken, what):
    family = socket.AF_INET6 if ":" in taken else socket.AF_INET
    with socket.create_server((taken, 0), family=family, reuse_port=True) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} on :: cannot be used \(Address already in use\)"):
            what(Settings(port=port, health_port=port + 1) if what is listen.bind else Settings(health_port=port))


def test_an_address_of_another_machine_is_named():
    with pytest.raises(ConfigurationError, match="set EXTENSION_BIND_ADDRESS to an address of this machine"):
        listen.bind(Settings(port=0, bind_address="192.0.2.1"))


def test_a_port_that_is_not_permitted_is_named_with_both_ways_out(monkeypatch):
    class Unprivileged(socket.socket):
        def bind(self, address):
            if 0 < address[1] < 1024:
                raise PermissionError(errno.EACCES, "Permission denied")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Unprivileged)
    with pytest.raises(ConfigurationError) as refused:
        listen.bind(Settings(port=80, bind_address="127.0.0.1"))
    assert str(refused.value) == (
        "port 80 on 127.0.0.1 cannot be used (Permission denied): set STEADYBIT_EXTENSION_PORT to a port above 1023, "
        "or grant the process CAP_NET_BIND_SERVICE"
    )


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:8082/"),
        ({"event_log_address": "::1"}, "http://[::1]:8082/"),
        ({"event_log_address": "0.0.0.0"}, "http://localhost:8082/"),
        ({"event_log_address": "::"}, "http://localhost:8082/"),
        ({"tls_server_cert": "a", "tls_server_key": "b"}, "https://127.0.0.1:8082/"),
    ],
)
def test_the_event_log_is_named_as_browsers_reach_it(settings, url):
    assert listen.event_log_url(Settings(**settings), 8082) == url
