"""Addresses of extensions and agents: parses the URLs that agents can call, and Unix sockets."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Self
from urllib.parse import urlsplit

from extension_kit.errors import ConfigurationError

# Characters of URLs without quotes, query and fragment: safe inside the YAML and JSON of registrations.
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/\[\]!$&()*+,;=%]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an extension or an agent; with the scheme ``unix``, the path is a file and the port 0."""

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse ``http://host[:port][/path]``, the same with https, or ``unix:/path/of/socket``.

        Raises:
            ConfigurationError: the URL has another form, or contains a user name, a query or a fragment.
        """
        if "@" in url:
            # The message does not repeat the URL, which may contain a password.
            raise ConfigurationError("leave user name and password out of the URL; --basic says where they go")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ConfigurationError(f"{url!r} is not a URL: {error}") from None
        if _URL_CHARACTERS.fullmatch(url) and port != 0:
            if parts.scheme == "unix" and not parts.netloc and re.match("/.*[^/]$", parts.path):
                return cls(f"unix:{parts.path}", "unix", "", 0, parts.path)
            if parts.scheme in _DEFAULT_PORTS and host:
                path = "" if parts.path == "/" else parts.path
                url = f"{parts.scheme}://{parts.netloc}{path}"
                return cls(url, parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], path)
        raise ConfigurationError(
            f"{url!r} is not a URL that agents can call: expected http://host:port, https or unix:/path"
        )

    @property
    def name(self) -> str:
        """Name for files and manifests: ``extension-`` and the socket's name, the host's first part, or the port."""
        if self.scheme == "unix":
            label = PurePosixPath(self.path).stem
        elif self.host == "localhost" or ":" in self.host or not self.host[0].isalpha():
            label = str(self.port)
        else:
            label = self.host.partition(".")[0]
        return "extension-" + re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-").removeprefix("extension-")
