"""Address check: resolves a host and returns only its public or allowed addresses, against server-side request forgery.

Subscribers choose the hosts of deliveries, and a name may resolve to this machine, its network, or the metadata service
of its cloud. A name is resolved only once: a second lookup could return an address that was not checked.
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
"""Networks to allow for hosts that the operator configures."""

_LOOKUP_SECONDS = 5.0
_MAX_LOOKUPS = 32  # a lookup cannot be cancelled, so hanging ones are limited

_IPV6_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# Networks without hosts of the Internet that is_global accepts in some version of Python.
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
    """A host has no address to connect to."""


class UnresolvedError(AddressError):
    """A name could not be resolved. A later attempt may succeed."""


class NotAllowedError(AddressError):
    """No address of a host is allowed."""


def is_public(address: Address) -> bool:
    """Return True for the address of one host of the public Internet; of an embedded IPv4 address, that one counts."""
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
    """Resolves hosts to their allowed addresses.

    Args:
        allow: networks that are allowed although they are not public.
        resolve: a function that returns the addresses of a host and port; by default the system's resolver.
    """

    def __init__(self, allow: Iterable[Network] = (), resolve: Resolve = _look_up) -> None:
        self._allow = tuple(allow)
        self._resolve = resolve
        self._free_lookups = threading.BoundedSemaphore(_MAX_LOOKUPS)

    def resolve(self, host: str, port: int, timeout: float) -> list[str]:
        """Return the allowed addresses of a host, at most eight, in the resolver's order. Connect to no others.

        Args:
            host: a name, or an address without brackets.
            port: the port of the connection.
            timeout: seconds for the lookup, of which it uses at most five.

        Raises:
            UnresolvedError: the name is unknown, or the lookup timed out.
            NotAllowedError: the host has addresses, but none is allowed.
        """
        try:
            found: Iterable[str] = [str(ip_address(host))]
        except ValueError:
            found = self._look_up(host, port, min(timeout, _LOOKUP_SECONDS))
        verdicts = {_canonical(address): self._is_allowed(address) for address in map(ip_address, found)}
        if refused := [address for address, allowed in verdicts.items() if not allowed]:
            # Logged only: with addresses in the error, subscribers could map the network.
            logger.warning(
                "Refused addresses of %s: %s, neither public nor in %s", host, ", ".join(refused), ALLOW_VARIABLE
            )
        if allowed := [address for address, allowed in verdicts.items() if allowed]:
            return allowed[:MAX_ADDRESSES]
        raise NotAllowedError(f"{host} has no public address: a network has to be allowed with {ALLOW_VARIABLE}")

    def _is_allowed(self, address: Address) -> bool:
        forms = [form for form in (address, _embedded(address)) if form is not None]
        return is_public(address) or any(form in network for form in forms for network in self._allow)

    def _look_up(self, host: str, port: int, timeout: float) -> Iterable[str]:
        """Resolve in a separate thread, because the system's resolver has no timeout."""
        if not self._free_lookups.acquire(timeout=timeout):
            raise UnresolvedError(f"{host} was not resolved within {timeout:.3g} s: other lookups hang")
        answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                answers.put(list(self._resolve(host, port)))
            except (OSError, ValueError) as error:  # ValueError: not a possible name
                answers.put(error)
            finally:
                self._free_lookups.release()

        try:
            threading.Thread(target=look_up, name="resolver", daemon=True).start()
        except RuntimeError:  # no thread can start while the process runs its exit handlers
            look_up()
        try:
            answer = answers.get(timeout=timeout)
        except queue.Empty:
            raise UnresolvedError(f"{host} was not resolved within {timeout:.3g} s") from None
        if isinstance(answer, Exception) or not answer:
            raise UnresolvedError(f"{host} cannot be resolved")
        return answer


def _canonical(address: Address) -> str:
    """Return the address as text, an IPv4-mapped one as IPv4."""
    return str((isinstance(address, IPv6Address) and address.ipv4_mapped) or address)
