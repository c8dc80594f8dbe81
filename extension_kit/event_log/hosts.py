"""Names under which the event log answers: other names in ``Host`` lead here by DNS rebinding.

A page elsewhere may point its own name at this address, and would then read the event log with its visitor's browser.
"""

import re
from collections.abc import Collection
from ipaddress import ip_address

_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[^\[\]:/@\s]+))(?::[0-9]{1,5})?")


class Hosts:
    """Allowed values of ``Host``: loopback, the bound address, and names of the settings.

    If every address of the machine is bound, each IP address is allowed: rebinding needs a name.

    Args:
        bound: the bound IP address.
        names: further names, in lower case.
    """

    def __init__(self, bound: str, names: Collection[str]) -> None:
        self._bound = ip_address(bound)
        self._names = {"localhost", *names}

    def allow(self, host: str) -> bool:
        """Return True if a host, perhaps with a port, may be answered."""
        if (found := _HOST.fullmatch(host)) is None:
            return False
        name = found["six"] or found["name"].lower().rstrip(".")
        if name in self._names:
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or address == self._bound or self._bound.is_unspecified
