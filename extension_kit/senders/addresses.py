"""Which addresses a delivery may be sent to.

Whoever makes a subscription chooses a host, and a name may lead anywhere: to the machine itself, into its network, to
the metadata of its cloud. So a name is resolved once, its addresses are judged, and one of those judged is dialled.
"""

import logging
import queue
import socket
import threading
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from extension_kit.errors import ExtensionKitError

logger = logging.getLogger("extension_kit.senders")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Iterable[str]]

ALLOW_VARIABLE = "EXTENSION_DELIVERY_ALLOW_NETWORKS"
MAX_ADDRESSES = 8
ANYWHERE: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
"""What the operator names may be dialled wherever it is."""

_LOOKUP_SECONDS = 5.0
_LOOKUPS = 32  # a lookup cannot be cancelled: this many that hang are enough

_IPV6_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# What Python's is_global passes, in one of its versions or another, though it leads to no host of the Internet.
_SPECIAL: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "192.0.0.0/24",  # protocol assignments; a cloud keeps its metadata there
            "168.63.129.16/32",  # a cloud's services for its own machines
            "192.88.99.0/24",  # relays of 6to4
            "2001::/23",  # protocol assignments, Teredo with an IPv4 address inside
            "3fff::/20",  # documentation
        ),
    )
)


class AddressError(ExtensionKitError):
    """A host cannot be dialled."""


class UnresolvedError(AddressError):
    """A name could not be resolved. That may get better."""


class NotAllowedError(AddressError):
    """No address of a host may be dialled."""


def is_public(address: Address) -> bool:
    """Whether an address is one host of the public Internet; of an IPv4 address in an IPv6 one, whether that is."""
    if (inner := _embedded(address)) is not None:
        return is_public(inner)
    if any(address in network for network in _SPECIAL if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and (address.version == 4 or address in _IPV6_UNICAST)


def _embedded(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _look_up(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Addresses:
    """Resolves hosts to the addresses that may be dialled.

    Args:
        allow: networks that may be dialled although they are not public.
        resolve: finds the addresses of a host and port; by default the system does.
    """

    def __init__(self, allow: Iterable[Network] = (), resolve: Resolve = _look_up) -> None:
        self._allow = tuple(allow)
        self._resolve = resolve
        self._free = threading.BoundedSemaphore(_LOOKUPS)

    def of(self, host: str, port: int, timeout: float) -> list[str]:
        """The addresses to dial for a host, at most eight, in the order of the resolver. Dial nothing else.

        Args:
            host: a name, or an address without brackets.
            port: where the connection is to go.
            timeout: seconds that are left. The lookup of a name takes at most five of them.

        Raises:
            UnresolvedError: the name is unknown, or was not answered for in time.
            NotAllowedError: the host has addresses, none of them allowed.
        """
        try:
            found: Iterable[str] = [str(ip_address(host))]
        except ValueError:
            found = self._look_up(host, port, min(timeout, _LOOKUP_SECONDS))
        judged = {_plain(address): self._may_be_dialled(address) for address in map(ip_address, found)}
        if refused := [address for address, allowed in judged.items() if not allowed]:
            # Not in the error: who may read that could map the network by making subscriptions.
            logger.warning("%s is not dialled at %s: not public, nor in %s", host, ", ".join(refused), ALLOW_VARIABLE)
        if allowed := [address for address, allowed in judged.items() if allowed]:
            return allowed[:MAX_ADDRESSES]
        raise NotAllowedError(f"{host} has no public address: a network has to be allowed with {ALLOW_VARIABLE}")

    def _may_be_dialled(self, address: Address) -> bool:
        ways = [way for way in (address, _embedded(address)) if way is not None]
        return is_public(address) or any(way in network for way in ways for network in self._allow)

    def _look_up(self, host: str, port: int, timeout: float) -> Iterable[str]:
        """Resolve on a thread of its own: the system's resolver knows no timeout."""
        if not self._free.acquire(timeout=timeout):
            raise UnresolvedError(f"{host} was not resolved within {timeout:.3g} s: other lookups hang")
        answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                answers.put(list(self._resolve(host, port)))
            except (OSError, ValueError) as error:  # ValueError: it can be no name
                answers.put(error)
            finally:
                self._free.release()

        try:
            threading.Thread(target=look_up, name="resolver", daemon=True).start()
        except RuntimeError:  # the process has ended but for its exit handlers: no thread begins any more
            look_up()
        try:
            answer = answers.get(timeout=timeout)
        except queue.Empty:
            raise UnresolvedError(f"{host} was not resolved within {timeout:.3g} s") from None
        if isinstance(answer, Exception) or not answer:
            raise UnresolvedError(f"{host} cannot be resolved")
        return answer


def _plain(address: Address) -> str:
    """As it is dialled: an IPv4 address in IPv6's clothes as IPv4."""
    return str((isinstance(address, IPv6Address) and address.ipv4_mapped) or address)
