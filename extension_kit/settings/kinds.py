"""Kinds of values with a form of their own: URLs, networks, mailboxes, secrets, schedules of retries, names, files."""

from __future__ import annotations

import re
from ipaddress import ip_network
from itertools import groupby
from pathlib import Path
from urllib.parse import urlsplit

from extension_kit.settings.declare import Kind, Refusal

_DATABASE_URLS = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE (in the password, @ is %40)"


def _database_url(text: str) -> str:
    """Return the URL in SQLAlchemy's form. Only its scheme and form are checked here; the store checks the rest."""
    scheme, _, rest = text.partition("://")
    if scheme == "sqlite" and re.fullmatch(r"/(?!:memory:|file:)[^?]+", rest):
        return text
    if scheme in {"postgres", "postgresql", "postgresql+psycopg"} and rest:
        return f"postgresql+psycopg://{rest}"
    if other := re.fullmatch(r"(sqlite|postgres|postgresql)(\+\w{1,20})", scheme):
        name, driver = other.groups()
        form = "sqlite:///FILE" if name == "sqlite" else "postgresql://USER:PASSWORD@HOST/DATABASE"
        raise Refusal(f"{driver} names a driver that is not used here: write {form}")
    name = scheme.partition("+")[0]
    if "://" in text and name not in {"sqlite", "postgres", "postgresql"} and re.fullmatch("[a-z0-9]{1,20}", name):
        raise Refusal(f"{name} is not supported, write {_DATABASE_URLS}")
    raise ValueError(text)


DATABASE_URL = Kind(_database_url, _DATABASE_URLS)


def _postgresql_url(text: str) -> str:
    if text.startswith("sqlite:"):
        raise ValueError(text)
    return _database_url(text)


POSTGRESQL_URL = Kind(_postgresql_url, "postgresql://USER:PASSWORD@HOST/DATABASE (in the password, @ is %40)")


def _mailbox(text: str) -> str:
    """Return the text if it has the form of an e-mail sender. Mail servers may still refuse it."""
    if not re.fullmatch(r"[^\s@<>]+@[^\s@<>]+|[^<>]*<[^\s@<>]+@[^\s@<>]+>", text) or not text.isprintable():
        raise ValueError(text)
    return text


NETWORKS = Kind(
    lambda text: tuple(ip_network(network.strip()) for network in text.split(",") if network.strip()),
    "networks such as 10.0.0.0/8 or fd00::/8, separated by commas",
)


def _proxy_url(text: str) -> str:
    from extension_kit.outgoing.proxies import Proxy  # which only few have

    Proxy.parse(text)
    return text


PROXY_URL = Kind(_proxy_url, "http://USER:PASSWORD@HOST:PORT, or https (in the password, @ is %40)")
_URLS = "http://HOST or https://HOST, with a port and a path if needed"


def _url(text: str) -> str:
    """Return the URL. It is shown in no error: it may be a secret itself, as those of webhooks are."""
    problem = Refusal(f"write {_URLS}")
    try:
        parts = urlsplit(text)
        has_port = parts.port != 0
    except ValueError:
        raise problem from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not has_port or re.search(r"[\s\x00-\x1f]", text):
        raise problem
    if "@" in parts.netloc:
        raise Refusal("it has a user name, which has no place in it")
    return text


URL = Kind(_url, _URLS)
MAILBOX = Kind(_mailbox, "an address such as Oncall <oncall@example.com>")

LEAST_SECRET_BYTES = 32
"""Minimum length of a secret that signs or encrypts (RFC 7518, section 3.2)."""


RANDOM_TEXT_COMMAND = "python3 -c 'import secrets; print(secrets.token_hex(32))'"
"""Command that prints a new secret."""


def _secret(text: str) -> str:
    if len(text.encode()) < LEAST_SECRET_BYTES:
        raise Refusal(f"it has fewer than {LEAST_SECRET_BYTES} bytes. Make one by  {RANDOM_TEXT_COMMAND}")
    return text


def _secrets(text: str) -> tuple[str, ...]:
    secrets = tuple(_secret(secret.strip()) for secret in text.split(",") if secret.strip())
    if not secrets:
        raise Refusal(f"it has no secret. Make one by  {RANDOM_TEXT_COMMAND}")
    return secrets


SECRET = Kind(_secret, f"a secret of at least {LEAST_SECRET_BYTES} bytes")
SECRETS = Kind(_secrets, f"secrets of at least {LEAST_SECRET_BYTES} bytes each, separated by commas")

_LEAST_PASSWORD_CHARACTERS = 8


def _login_password(text: str) -> str:
    if len(text) < _LEAST_PASSWORD_CHARACTERS:
        raise Refusal(f"it has fewer than {_LEAST_PASSWORD_CHARACTERS} characters")
    return text


LOGIN_PASSWORD = Kind(_login_password, f"at least {_LEAST_PASSWORD_CHARACTERS} characters")


def _header_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}", text):
        raise ValueError(text)
    return text


HEADER_NAME = Kind(_header_name, "the name of a header, such as X-Forwarded-User")

_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


def _host_names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower().rstrip(".") for name in text.split(",") if name.strip())
    if not all(map(_HOST_NAME.fullmatch, names)):
        raise ValueError(text)
    return names


HOST_NAMES = Kind(_host_names, "names such as events.example.com, without ports, separated by commas")


def split_names(text: str) -> tuple[str, ...]:
    """Return the names in a text, separated by commas, each once.

    Raises:
        ValueError: there is none.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ValueError(text)
    return names


NAMES = Kind(split_names, "names separated by commas")

_MOST_FILE_BYTES = 1_000_000


def _file(text: str) -> str:
    path = Path(text)
    try:
        if not path.is_file() or path.stat().st_size > _MOST_FILE_BYTES:
            raise ValueError(text)
        path.read_text(encoding="utf-8")
    except OSError:
        raise ValueError(text) from None
    return text


FILE = Kind(_file, "the path of a readable text file of at most 1 MB")

MOST_WAITS = 999
"""Maximum number of waits of a schedule: a delivery has at most one attempt more."""

_LONGEST_WAIT = 30 * 86400.0
_WAIT = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)(?:x([1-9][0-9]{0,2}))?")


class Schedule(tuple[float, ...]):
    """Waits between attempts in seconds; ``str`` gives them in the form of the setting."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return ``20x2,600``."""
        runs = [(wait, len(list(equal))) for wait, equal in groupby(self)]
        return ",".join(f"{wait:g}" + (f"x{times}" if times > 1 else "") for wait, times in runs)


def _schedule(text: str) -> Schedule:
    waits: list[float] = []
    for part in text.split(","):
        if (found := _WAIT.fullmatch(part.strip())) is None or float(found[1]) > _LONGEST_WAIT:
            raise ValueError(part)
        waits += [float(found[1])] * int(found[2] or 1)
    if len(waits) > MOST_WAITS:
        raise ValueError("too many")
    return Schedule(waits)


SCHEDULE = Kind(_schedule, "seconds separated by commas, such as 20,20 or 600x150 for 150 times 600 s")
