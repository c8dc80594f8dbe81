"""Settings of the kit: environment variable, default, allowed values and meaning of each.

The names beginning with ``STEADYBIT_`` are those of Steadybit's extension-kit documentation. An extension declares its
own settings in the same way: a frozen dataclass of ``setting(...)`` fields, read by ``read_settings``.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Collection, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Literal

from extension_kit.errors import SettingError
from extension_kit.settings.declare import (
    FILE_MODE,
    FILE_SUFFIX,
    IP_ADDRESS,
    PATHS,
    SOCKET_PATH,
    TEXT,
    TRUE_OR_FALSE,
    Kind,
    Refusal,
    declarations,
    one_of,
    read_settings,
    seconds,
    setting,
    shown,
    whole_number,
)

if TYPE_CHECKING:
    pass


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
    raise ValueError(text)


EVERY_ADDRESS = "::"
"""The wildcard address: every IPv6 and IPv4 address of the machine."""

DATABASE_URL = Kind(
    _database_url, "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE (in the password, @ is %40)"
)


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
MAILBOX = Kind(_mailbox, "an address such as Oncall <oncall@example.com>")


# fmt: off
@dataclasses.dataclass(frozen=True)
class Settings:
    """The kit's own settings. Times are in seconds.

    Raises:
        SettingError: two settings contradict each other.
    """

    port: int = setting(
        "STEADYBIT_EXTENSION_PORT", 8080, whole_number(0, 65535),
        "Port that agents call. 0 takes any free port.")
    health_port: int = setting(
        "STEADYBIT_EXTENSION_HEALTH_PORT", 8081, whole_number(0, 65535),
        "Port of /health/liveness, /health/readiness and /metrics, always without TLS. 0 takes any free port.")
    bind_address: str = setting(
        "EXTENSION_BIND_ADDRESS", EVERY_ADDRESS, IP_ADDRESS,
        "Address to which both ports are bound. `::` is every IPv4 and IPv6 address, `0.0.0.0` every IPv4 address.")
    unix_socket: str = setting(
        "STEADYBIT_EXTENSION_UNIX_SOCKET", "", SOCKET_PATH,
        "Path of a Unix socket to listen on instead of a port, without TLS.")
    unix_socket_mode: str = setting(
        "EXTENSION_UNIX_SOCKET_MODE", "0660", FILE_MODE,
        "File mode of the Unix socket: with 0660 its user and group may connect, with 0666 everybody on the machine.")
    tls_server_cert: str = setting(
        "STEADYBIT_EXTENSION_TLS_SERVER_CERT", "", TEXT,
        "PEM file with the server's certificate chain. Turns TLS on; a renewed file is used without a restart.")
    tls_server_key: str = setting(
        "STEADYBIT_EXTENSION_TLS_SERVER_KEY", "", TEXT,
        "PEM file with the certificate's private key, without a passphrase.")
    tls_client_cas: tuple[str, ...] = setting(
        "STEADYBIT_EXTENSION_TLS_CLIENT_CAS", (), PATHS,
        "PEM files, or directories of them, separated by commas. Agents must show a certificate signed by one of them.")
    basic_username: str = setting(
        "STEADYBIT_EXTENSION_BASIC_USERNAME", "", TEXT,
        "User name that agents must send (HTTP basic authentication).")
    basic_password: str = setting(
        "STEADYBIT_EXTENSION_BASIC_PASSWORD", "", TEXT,
        "Password that agents must send.", secret=True)
    validation: Literal["tolerant", "strict"] = setting(
        "STEADYBIT_EXTENSION_VALIDATION", "tolerant", one_of("tolerant", "strict"),
        "Validation of events: tolerant accepts real agents' deviations from the specification, strict refuses them.")
    log_level: Literal["trace", "debug", "info", "warn", "error"] = setting(
        "STEADYBIT_LOG_LEVEL", "info", one_of("trace", "debug", "info", "warn", "error", warning="warn"),
        "Lowest level of log lines that are written.")
    log_format: Literal["text", "json"] = setting(
        "STEADYBIT_LOG_FORMAT", "text", one_of("text", "json"),
        "Format of log lines.")
    log_color: bool | None = setting(
        "STEADYBIT_LOG_COLOR", None, TRUE_OR_FALSE,
        "Colours in text log lines. Unset: only on a terminal.")
    web_workers: int = setting(
        "EXTENSION_WEB_WORKERS", 1, whole_number(1, 256),
        "Number of processes that answer requests.")
    web_threads: int = setting(
        "EXTENSION_WEB_THREADS", 16, whole_number(1, 1000),
        "Threads per process that run your functions.")
    queue_limit: int = setting(
        "EXTENSION_QUEUE_LIMIT", 1000, whole_number(1, 100_000),
        "Maximum number of events per process that wait for a thread. Further events are answered 503.")
    worker_threads: int = setting(
        "EXTENSION_WORKER_THREADS", 16, whole_number(1, 1000),
        "Maximum number of deliveries that a worker attempts at the same time.")
    function_timeout: float = setting(
        "EXTENSION_FUNCTION_TIMEOUT", 60.0, seconds(0.1, 86400),
        "Seconds after which a durable function that has not returned counts as failed.")
    stalled_after: float = setting(
        "EXTENSION_STALLED_AFTER", 30.0, seconds(1, 3600),
        "Seconds without a heartbeat after which other workers take over the deliveries of a worker.")
    max_body_bytes: int = setting(
        "EXTENSION_MAX_BODY_BYTES", 8 * 1024**2, whole_number(1, 1024**3),
        "Maximum bytes of a request body. A larger one is answered 413.")
    max_inflight_megabytes: int = setting(
        "EXTENSION_MAX_INFLIGHT_MEGABYTES", 64, whole_number(1, 1_000_000),
        "Maximum megabytes of all request bodies that a process holds, without bodies of up to 16 kB. Above it, a "
        "request is answered 503 before its body is read.")
    request_timeout: float = setting(
        "EXTENSION_REQUEST_TIMEOUT", 30.0, seconds(0.1, 3600),
        "Seconds until the answer is due if a request has no Request-Timeout header.")
    read_timeout: float = setting(
        "EXTENSION_READ_TIMEOUT", 30.0, seconds(0.1, 3600),
        "Seconds a client has to send a whole request.")
    write_timeout: float = setting(
        "EXTENSION_WRITE_TIMEOUT", 30.0, seconds(0.1, 3600),
        "Seconds a client has to read a whole answer.")
    grace_period: float = setting(
        "EXTENSION_GRACE_PERIOD", 20.0, seconds(0, 3600),
        "Seconds that running requests and attempts have to finish after SIGTERM.")
    max_connections: int = setting(
        "EXTENSION_MAX_CONNECTIONS", 1000, whole_number(1, 100_000),
        "Maximum number of open connections per process.")
    keep_alive: float = setting(
        "EXTENSION_KEEP_ALIVE", 75.0, seconds(0, 3600),
        "Seconds an idle connection is kept open.")
    duplicate_window: float = setting(
        "EXTENSION_DUPLICATE_WINDOW", 3600.0, seconds(0, 604_800),
        "Seconds during which a repeated event (same id, same path) is not run again.")
    duplicate_limit: int = setting(
        "EXTENSION_DUPLICATE_LIMIT", 10_000, whole_number(0, 1_000_000),
        "Maximum number of event ids that a process remembers to recognise repeated events.")
    database_url: str = setting(
        "EXTENSION_DATABASE_URL", "sqlite:///./extension.db", DATABASE_URL,
        "URL of the database for events and deliveries of durable listeners.", secret=True)
    store_timeout: float = setting(
        "EXTENSION_STORE_TIMEOUT", 5.0, seconds(0.5, 60),
        "Seconds after which a database that does not answer counts as unavailable: events are then answered 503.")
    retention_days: int = setting(
        "EXTENSION_RETENTION_DAYS", 30, whole_number(1, 36_500),
        "Days for which events are kept after their last delivery has ended.")
    retention_megabytes: int = setting(
        "EXTENSION_RETENTION_MEGABYTES", 1000, whole_number(10, 100_000_000),
        "Maximum database size in MB; above it, the oldest ended events are deleted. Events with a waiting delivery "
        "are never deleted.")
    delivery_timeout: float = setting(
        "EXTENSION_DELIVERY_TIMEOUT", 15.0, seconds(0.1, 300),
        "Seconds a receiver has to answer, unless the subscription sets its own timeout.")
    delivery_allow_networks: tuple[IPv4Network | IPv6Network, ...] = setting(
        "EXTENSION_DELIVERY_ALLOW_NETWORKS", (), NETWORKS,
        "Networks that are not public but allowed as targets of subscriptions.")
    delivery_ca_file: str = setting(
        "EXTENSION_DELIVERY_CA_FILE", "", TEXT,
        "PEM file with the CAs trusted for receivers' certificates. Unset: the CAs of the system.")
    delivery_proxy: str = setting(
        "EXTENSION_DELIVERY_PROXY", "", PROXY_URL,
        "Proxy for webhooks, which then decides which addresses they may lead to.", secret=True)
    smtp_host: str = setting(
        "EXTENSION_SMTP_HOST", "", TEXT,
        "Mail server for the e-mails of subscriptions.")
    smtp_port: int = setting(
        "EXTENSION_SMTP_PORT", 0, whole_number(0, 65535),
        "Port of the mail server. 0 is the usual port: 587 for starttls, 465 for tls, 25 for none.")
    smtp_security: Literal["starttls", "tls", "none"] = setting(
        "EXTENSION_SMTP_SECURITY", "starttls", one_of("starttls", "tls", "none"),
        "Encryption of the connection to the mail server.")
    smtp_username: str = setting(
        "EXTENSION_SMTP_USERNAME", "", TEXT,
        "User name for the mail server.")
    smtp_password: str = setting(
        "EXTENSION_SMTP_PASSWORD", "", TEXT,
        "Password for the mail server.", secret=True)
    smtp_sender: str = setting(
        "EXTENSION_SMTP_SENDER", "", MAILBOX,
        "Sender address of e-mails.")
    # fmt: on

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise SettingError("; ".join(problems))

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the environment.

        Raises:
            SettingError: one line that names every variable with a value that is not allowed.
        """
        return read_settings(cls)

    def _problems(self) -> Iterator[str]:
        cert, key = "STEADYBIT_EXTENSION_TLS_SERVER_CERT", "STEADYBIT_EXTENSION_TLS_SERVER_KEY"
        user, password = "STEADYBIT_EXTENSION_BASIC_USERNAME", "STEADYBIT_EXTENSION_BASIC_PASSWORD"
        if (self.tls_server_key or self.tls_client_cas) and not self.tls_server_cert:
            yield f"{cert} is not set: a TLS server certificate must be provided when TLS is enabled"
        if (self.tls_server_cert or self.tls_client_cas) and not self.tls_server_key:
            yield f"{key} is not set: a TLS server key must be provided when TLS is enabled"
        if self.basic_username and not self.basic_password:
            yield f"{password} is not set: it must be provided with {user}"
        if self.basic_password and not self.basic_username:
            yield f"{user} is not set: it must be provided with {password}"
        if self.smtp_host and not self.smtp_sender:
            yield "EXTENSION_SMTP_SENDER is not set: it must be provided with EXTENSION_SMTP_HOST"
        if self.smtp_username and not self.smtp_password:
            yield "EXTENSION_SMTP_PASSWORD is not set: it must be provided with EXTENSION_SMTP_USERNAME"
        if self.smtp_password and not self.smtp_username:
            yield "EXTENSION_SMTP_USERNAME is not set: it must be provided with EXTENSION_SMTP_PASSWORD"
        if ":" in self.basic_username:  # RFC 7617: the first colon ends the name
            yield f"{user} is {shown(self.basic_username)}: a name without a colon is allowed"
        if self.port == self.health_port != 0 and not self.unix_socket:
            ports = "STEADYBIT_EXTENSION_PORT and STEADYBIT_EXTENSION_HEALTH_PORT"
            yield f"{ports} are both {self.port}: two different ports are allowed"


def unknown_variables(known: Collection[str] = ()) -> list[str]:
    """Return a sentence for each environment variable that looks like a misspelt setting, to be logged at the start.

    ``known`` are variables of other settings. Every unknown EXTENSION_ variable is reported. A variable with one of
    Steadybit's prefixes is reported only if its name is close to a setting: extensions use these prefixes, too.
    """
    settings = {*known, *(declaration.variable for _, declaration in declarations(Settings))}
    by_ending = {_ending(variable): variable for variable in settings}
    sentences = []
    for variable, value in sorted(os.environ.items()):
        ours = variable.startswith("EXTENSION_")
        if not ours and not variable.startswith(("STEADYBIT_EXTENSION_", "STEADYBIT_LOG_")):
            continue
        if variable.removesuffix(FILE_SUFFIX) in settings or _is_service_link(variable, value):
            continue
        if close := difflib.get_close_matches(_ending(variable), by_ending, n=1, cutoff=0.75):
            sentences.append(f"{variable} is not a setting: did you mean {by_ending[close[0]]}?")
        elif ours:
            sentences.append(f"{variable} is not a setting")
    return sentences


def _is_service_link(variable: str, value: str) -> bool:
    """Return True for a variable that Kubernetes sets for a service, perhaps one called ``extension-oncall``."""
    name = re.search(r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)", variable)
    return bool(name or re.match("(tcp|udp|sctp)://", value))


def _ending(variable: str) -> str:
    """Return the variable without its prefixes, which would make all names similar."""
    return re.sub("^(STEADYBIT_)?(EXTENSION_)?", "", variable)
