"""Which addresses may be dialled, and that names are resolved once and in time."""

import logging
import threading
from ipaddress import ip_address, ip_network

import pytest

from extension_kit.senders.addresses import ANYWHERE, Addresses, NotAllowedError, UnresolvedError, is_public

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "223.255.255.255",
    "2600:1f18::1",
    "2a00:1450:4001::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]
NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_host_of_the_internet_is_dialled(address):
    assert is_public(ip_address(address))
    dialled = "8.8.8.8" if address == "::ffff:8.8.8.8" else str(ip_address(address))
    assert Addresses().resolve(address, 443, 1) == [dialled]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_everything_else_is_refused(address):
    assert not is_public(ip_address(address))
    with pytest.raises(NotAllowedError, match="EXTENSION_DELIVERY_ALLOW_NETWORKS"):
        Addresses().resolve(address, 443, 1)


@pytest.mark.parametrize(
    ("network", "host", "dialled"),
    [
        ("10.0.0.0/8", "10.1.2.3", "10.1.2.3"),
        ("127.0.0.1/32", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.0/8", "::ffff:127.0.0.1", "127.0.0.1"),
        ("10.0.0.0/8", "64:ff9b::a01:203", "64:ff9b::a01:203"),
        ("fd00::/8", "fd12::1", "fd12::1"),
        ("::1/128", "::1", "::1"),
        ("0.0.0.0/0", "169.254.169.254", "169.254.169.254"),
    ],
)
def test_a_network_can_be_allowed(network, host, dialled):
    assert Addresses([ip_network(network)]).resolve(host, 80, 1) == [dialled]


@pytest.mark.parametrize(
    ("network", "host"),
    [("10.0.0.0/8", "11.0.0.1.nip"), ("127.0.0.1/32", "127.0.0.2"), ("::/0", "10.0.0.1"), ("0.0.0.0/0", "::1")],
)
def test_a_network_allows_nothing_outside_of_it(network, host):
    addresses = Addresses([ip_network(network)], lambda host, port: ["192.168.0.1"])
    with pytest.raises(NotAllowedError):
        addresses.resolve(host, 80, 1)


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "localhost"])
def test_what_the_system_takes_for_this_machine_is_judged_by_where_it_leads(host):
    with pytest.raises((NotAllowedError, UnresolvedError)):
        Addresses().resolve(host, 80, 10)


def test_of_a_names_addresses_the_allowed_ones_are_dialled_in_their_order(caplog):
    found = ["10.0.0.1", "8.8.8.8", "::1", "2600::1", "8.8.8.8", "::ffff:8.8.4.4"]
    with caplog.at_level(logging.WARNING):
        assert Addresses(resolve=lambda host, port: found).resolve("x.test", 80, 1) == ["8.8.8.8", "2600::1", "8.8.4.4"]
    assert "10.0.0.1, ::1" in caplog.text


def test_a_name_with_very_many_addresses_does_not_make_us_dial_them_all():
    many = [f"8.8.{number}.8" for number in range(200)]
    assert Addresses(resolve=lambda host, port: many).resolve("x.test", 80, 1) == many[:8]


def test_the_error_does_not_tell_what_is_inside_of_the_network():
    with pytest.raises(NotAllowedError) as raised:
        Addresses(resolve=lambda host, port: ["10.20.30.40"]).resolve("intranet.test", 80, 1)
    assert "intranet.test" in str(raised.value)
    assert "10.20" not in str(raised.value)


def test_a_name_is_resolved_once_with_its_port_and_an_address_not_at_all():
    asked = []

    def resolve(host, port):
        asked.append((host, port))
        return ["8.8.8.8"]

    addresses = Addresses(resolve=resolve)
    addresses.resolve("x.test", 8443, 1)
    addresses.resolve("8.8.8.8", 80, 1)
    assert asked == [("x.test", 8443)]


@pytest.mark.parametrize("host", ["no-such-name.invalid", "a" * 64 + ".test", "a..b", "."])
def test_a_name_that_nobody_knows(host):
    with pytest.raises(UnresolvedError, match="cannot be resolved"):
        Addresses().resolve(host, 80, 10)


def test_a_name_without_addresses():
    with pytest.raises(UnresolvedError):
        Addresses(resolve=lambda host, port: []).resolve("x.test", 80, 1)


def test_a_resolver_that_hangs_is_not_waited_for_and_lookups_that_hang_are_bounded():
    free, asked = threading.Event(), []

    def hang(host, port):
        asked.append(host)
        free.wait(20)
        return ["8.8.8.8"]

    addresses = Addresses(resolve=hang)
    try:
        for number in range(40):
            with pytest.raises(UnresolvedError, match="within"):
                addresses.resolve(f"{number}.test", 80, 0.01)
        assert len(asked) == 32
    finally:
        free.set()
    assert addresses.resolve("later.test", 80, 20) == ["8.8.8.8"]


def test_names_are_resolved_while_the_process_ends_and_no_thread_begins(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    addresses = Addresses(ANYWHERE, lambda host, port: ["127.0.0.1"])
    assert [addresses.resolve("receiver.test", 80, 1) for _ in range(100)] == [["127.0.0.1"]] * 100
