"""Settings of the kit: environment variable, default, allowed values, meaning of each, and where it acts.

The names beginning with ``STEADYBIT_`` are those of Steadybit's extension-kit documentation. An extension declares its
own settings in the same way: a frozen dataclass of ``setting(...)`` fields, read by ``read_settings``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from extension_kit.errors import SettingError
from extension_kit.settings.declare import (
    FILE_MODE,
    IP_ADDRESS,
    PATHS,
    SOCKET_PATH,
    TEXT,
    TRUE_OR_FALSE,
    Section,
    one_of,
    read_settings,
    seconds,
    shown,
    whole_number,
)
from extension_kit.settings.kinds import (
    DATABASE_URL,
    HEADER_NAME,
    HOST_NAMES,
    LOGIN_PASSWORD,
    MAILBOX,
    NETWORKS,
    POSTGRESQL_URL,
    PROXY_URL,
)

EVERY_ADDRESS = "::"
"""The wildcard address: every IPv6 and IPv4 address of the machine."""

SERVE, WORKER, EVENT_LOG, WSGI = "serve", "worker", "event-log", "WSGI"
"""The programs that heed settings: three commands, and any WSGI server with its deliveries in a thread."""

_ADDRESSES = Section("Addresses and TLS", (SERVE,))
_CONNECTIONS = Section("Connections", (SERVE, EVENT_LOG))
_REQUESTS = Section("Requests", (SERVE, WSGI))
_FUNCTIONS = Section("Processes and threads", (WORKER, WSGI))
_DATABASE = Section("Database", (SERVE, WORKER, EVENT_LOG, WSGI))
_SUBSCRIPTIONS = Section("Webhooks and e-mail", (SERVE, WORKER, WSGI))
_EVENT_LOG = Section("Event log", (SERVE, EVENT_LOG))
_LOG = Section("Log lines", (SERVE, WORKER, EVENT_LOG))


# fmt: off
@dataclasses.dataclass(frozen=True)
class Settings:
    """The kit's own settings. Times are in seconds.

    Raises:
        SettingError: two settings contradict each other.
    """

    port: int = _ADDRESSES.setting(
        "STEADYBIT_EXTENSION_PORT", 8080, whole_number(0, 65535),
        "Port that agents call. 0 takes any free port.")
    health_port: int = _ADDRESSES.setting(
        "STEADYBIT_EXTENSION_HEALTH_PORT", 8081, whole_number(0, 65535),
        "Port of /health/liveness, /health/readiness and /metrics, always without TLS. 0 takes any free port.",
        acts_in=(SERVE, WORKER))
    bind_address: str = _ADDRESSES.setting(
        "EXTENSION_BIND_ADDRESS", EVERY_ADDRESS, IP_ADDRESS,
        "Address to which both ports are bound. `::` is every IPv4 and IPv6 address, `0.0.0.0` every IPv4 address.",
        acts_in=(SERVE, WORKER))
    unix_socket: str = _ADDRESSES.setting(
        "STEADYBIT_EXTENSION_UNIX_SOCKET", "", SOCKET_PATH,
        "Path of a Unix socket to listen on instead of a port, without TLS. A worker then has no health port.",
        acts_in=(SERVE, WORKER))
    unix_socket_mode: str = _ADDRESSES.setting(
        "EXTENSION_UNIX_SOCKET_MODE", "0660", FILE_MODE,
        "File mode of the Unix socket: with 0660 its user and group may connect, with 0666 everybody on the machine.")
    tls_server_cert: str = _ADDRESSES.setting(
        "STEADYBIT_EXTENSION_TLS_SERVER_CERT", "", TEXT,
        "PEM file with the server's certificate chain. Turns TLS on; a renewed file is used without a restart.",
        acts_in=(SERVE, EVENT_LOG))
    tls_server_key: str = _ADDRESSES.setting(
        "STEADYBIT_EXTENSION_TLS_SERVER_KEY", "", TEXT,
        "PEM file with the certificate's private key, without a passphrase.", acts_in=(SERVE, EVENT_LOG))
    tls_client_cas: tuple[str, ...] = _ADDRESSES.setting(
        "STEADYBIT_EXTENSION_TLS_CLIENT_CAS", (), PATHS,
        "PEM files, or directories of them, separated by commas. Agents must show a certificate signed by one of them.")

    max_connections: int = _CONNECTIONS.setting(
        "EXTENSION_MAX_CONNECTIONS", 1000, whole_number(1, 100_000),
        "Maximum number of open connections per process.")
    keep_alive: float = _CONNECTIONS.setting(
        "EXTENSION_KEEP_ALIVE", 75.0, seconds(0, 3600),
        "Seconds an idle connection is kept open.")
    request_timeout: float = _CONNECTIONS.setting(
        "EXTENSION_REQUEST_TIMEOUT", 30.0, seconds(0.1, 3600),
        "Seconds until the answer is due if a request has no Request-Timeout header.", acts_in=(SERVE,))
    read_timeout: float = _CONNECTIONS.setting(
        "EXTENSION_READ_TIMEOUT", 30.0, seconds(0.1, 3600),
        "Seconds a client has to send a whole request.")
    write_timeout: float = _CONNECTIONS.setting(
        "EXTENSION_WRITE_TIMEOUT", 30.0, seconds(0.1, 3600),
        "Seconds a client has to read a whole answer.")
    max_inflight_megabytes: int = _CONNECTIONS.setting(
        "EXTENSION_MAX_INFLIGHT_MEGABYTES", 64, whole_number(1, 1_000_000),
        "Maximum megabytes of all request bodies that a process holds, without bodies of up to 16 kB. Above it, a "
        "request is answered 503 before its body is read.", acts_in=(SERVE,))

    basic_username: str = _REQUESTS.setting(
        "STEADYBIT_EXTENSION_BASIC_USERNAME", "", TEXT,
        "User name that agents must send (HTTP basic authentication).")
    basic_password: str = _REQUESTS.setting(
        "STEADYBIT_EXTENSION_BASIC_PASSWORD", "", TEXT,
        "Password that agents must send.", secret=True)
    validation: Literal["tolerant", "strict"] = _REQUESTS.setting(
        "STEADYBIT_EXTENSION_VALIDATION", "tolerant", one_of("tolerant", "strict"),
        "Validation of events: tolerant accepts real agents' deviations from the specification, strict refuses them.")
    max_body_bytes: int = _REQUESTS.setting(
        "EXTENSION_MAX_BODY_BYTES", 8 * 1024**2, whole_number(1, 1024**3),
        "Maximum bytes of a request body. A larger one is answered 413.")
    duplicate_window: float = _REQUESTS.setting(
        "EXTENSION_DUPLICATE_WINDOW", 3600.0, seconds(0, 604_800),
        "Seconds during which a repeated event (same id, same path) is not run again.")
    duplicate_limit: int = _REQUESTS.setting(
        "EXTENSION_DUPLICATE_LIMIT", 10_000, whole_number(0, 1_000_000),
        "Maximum number of event ids that a process remembers to recognise repeated events.")

    web_workers: int = _FUNCTIONS.setting(
        "EXTENSION_WEB_WORKERS", 1, whole_number(1, 256),
        "Number of processes that answer requests.", acts_in=(SERVE,))
    web_threads: int = _FUNCTIONS.setting(
        "EXTENSION_WEB_THREADS", 16, whole_number(1, 1000),
        "Threads per process that run your functions.", acts_in=(SERVE, WSGI))
    queue_limit: int = _FUNCTIONS.setting(
        "EXTENSION_QUEUE_LIMIT", 1000, whole_number(1, 100_000),
        "Maximum number of events per process that wait for a thread. Further events are answered 503.",
        acts_in=(SERVE, WSGI))
    worker_threads: int = _FUNCTIONS.setting(
        "EXTENSION_WORKER_THREADS", 16, whole_number(1, 1000),
        "Maximum number of deliveries that a worker attempts at the same time, without those to async functions.")
    worker_async_attempts: int = _FUNCTIONS.setting(
        "EXTENSION_WORKER_ASYNC_ATTEMPTS", 1000, whole_number(1, 10_000),
        "Maximum number of deliveries to async functions that a worker attempts at the same time.")
    worker_niceness: int | None = _FUNCTIONS.setting(
        "EXTENSION_WORKER_NICENESS", None, whole_number(0, 19),
        "Niceness of the worker process that `serve` starts: the higher it is, the more answering requests comes first "
        "where there are not enough cores for both. Unset: 10 with PostgreSQL, 0 with SQLite.", acts_in=(SERVE,))
    function_timeout: float = _FUNCTIONS.setting(
        "EXTENSION_FUNCTION_TIMEOUT", 60.0, seconds(0.1, 86400),
        "Seconds after which a durable function that has not returned counts as failed.")
    stalled_after: float = _FUNCTIONS.setting(
        "EXTENSION_STALLED_AFTER", 30.0, seconds(1, 3600),
        "Seconds without a sign of life after which a worker is replaced, by `serve`, or by others on PostgreSQL.")
    grace_period: float = _FUNCTIONS.setting(
        "EXTENSION_GRACE_PERIOD", 20.0, seconds(0, 3600),
        "Seconds that running requests and attempts have to finish after SIGTERM.",
        acts_in=(SERVE, WORKER, EVENT_LOG, WSGI))

    database_url: str = _DATABASE.setting(
        "EXTENSION_DATABASE_URL", "sqlite:///./extension.db", DATABASE_URL,
        "URL of the database for events and deliveries of durable listeners.", secret=True)
    database_direct_url: str = _DATABASE.setting(
        "EXTENSION_DATABASE_DIRECT_URL", "", POSTGRESQL_URL,
        "URL of the same PostgreSQL database without the pooler that EXTENSION_DATABASE_URL leads through. Workers "
        "need it where the pooler gives each transaction another session.", secret=True, acts_in=(WORKER, WSGI))
    store_timeout: float = _DATABASE.setting(
        "EXTENSION_STORE_TIMEOUT", 5.0, seconds(0.5, 60),
        "Seconds after which a database that does not answer counts as unavailable: events are then answered 503.")
    retention_days: int = _DATABASE.setting(
        "EXTENSION_RETENTION_DAYS", 30, whole_number(1, 36_500),
        "Days for which events are kept after their last delivery has ended, and state of functions after its last "
        "change.", acts_in=(WORKER, WSGI))
    retention_megabytes: int = _DATABASE.setting(
        "EXTENSION_RETENTION_MEGABYTES", 1000, whole_number(10, 100_000_000),
        "Maximum database size in MB; above it, the oldest ended events are deleted. Events with a waiting delivery "
        "are never deleted.", acts_in=(WORKER, WSGI))

    delivery_timeout: float = _SUBSCRIPTIONS.setting(
        "EXTENSION_DELIVERY_TIMEOUT", 15.0, seconds(0.1, 300),
        "Seconds a receiver has to answer, unless the subscription sets its own timeout.")
    delivery_allow_networks: tuple[IPv4Network | IPv6Network, ...] = _SUBSCRIPTIONS.setting(
        "EXTENSION_DELIVERY_ALLOW_NETWORKS", (), NETWORKS,
        "Networks that are not public but allowed as targets of subscriptions.")
    delivery_ca_file: str = _SUBSCRIPTIONS.setting(
        "EXTENSION_DELIVERY_CA_FILE", "", TEXT,
        "PEM file with the CAs trusted for receivers' certificates. Unset: the CAs of the system.")
    delivery_ca_folder: str = _SUBSCRIPTIONS.setting(
        "EXTENSION_DELIVERY_CA_FOLDER", "", TEXT,
        "Folder of PEM files with CAs that webhook targets may name. Unset: they may name none.")
    delivery_proxy: str = _SUBSCRIPTIONS.setting(
        "EXTENSION_DELIVERY_PROXY", "", PROXY_URL,
        "Proxy for webhooks, which then decides which addresses they may lead to.", secret=True)
    smtp_host: str = _SUBSCRIPTIONS.setting(
        "EXTENSION_SMTP_HOST", "", TEXT,
        "Mail server for the e-mails of subscriptions.")
    smtp_port: int = _SUBSCRIPTIONS.setting(
        "EXTENSION_SMTP_PORT", 0, whole_number(0, 65535),
        "Port of the mail server. 0 is the usual port: 587 for starttls, 465 for tls, 25 for none.")
    smtp_security: Literal["starttls", "tls", "none"] = _SUBSCRIPTIONS.setting(
        "EXTENSION_SMTP_SECURITY", "starttls", one_of("starttls", "tls", "none"),
        "Encryption of the connection to the mail server.")
    smtp_username: str = _SUBSCRIPTIONS.setting(
        "EXTENSION_SMTP_USERNAME", "", TEXT,
        "User name for the mail server.")
    smtp_password: str = _SUBSCRIPTIONS.setting(
        "EXTENSION_SMTP_PASSWORD", "", TEXT,
        "Password for the mail server.", secret=True)
    smtp_sender: str = _SUBSCRIPTIONS.setting(
        "EXTENSION_SMTP_SENDER", "", MAILBOX,
        "Sender address of e-mails.")

    event_log_port: int | None = _EVENT_LOG.setting(
        "EXTENSION_EVENT_LOG_PORT", None, whole_number(0, 65535),
        "Port of the event log. Unset: `serve` has none, and `extension-kit event-log` takes 8082. 0 takes any free "
        "port.")
    event_log_address: str = _EVENT_LOG.setting(
        "EXTENSION_EVENT_LOG_ADDRESS", "127.0.0.1", IP_ADDRESS,
        "Address to which that port is bound: by default, the event log is reached from this machine only.")
    event_log_password: str = _EVENT_LOG.setting(
        "EXTENSION_EVENT_LOG_PASSWORD", "", LOGIN_PASSWORD,
        "Password of the event log.", secret=True)
    event_log_open: Literal["", "loopback"] = _EVENT_LOG.setting(
        "EXTENSION_EVENT_LOG_OPEN", "", one_of("loopback"),
        "Opens the event log to everybody on this machine, without a password. Its address must be a loopback address.")
    event_log_read_only: bool = _EVENT_LOG.setting(
        "EXTENSION_EVENT_LOG_READ_ONLY", False, TRUE_OR_FALSE,
        "Shows the event log without its actions.")
    event_log_raw: bool = _EVENT_LOG.setting(
        "EXTENSION_EVENT_LOG_RAW", False, TRUE_OR_FALSE,
        "Shows bodies of events as they are on request; otherwise values of keys that sound secret are always hidden.")
    event_log_trusted_header: str = _EVENT_LOG.setting(
        "EXTENSION_EVENT_LOG_TRUSTED_HEADER", "", HEADER_NAME,
        "Header in which a proxy for single sign-on names the user, in place of a password.")
    event_log_trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = _EVENT_LOG.setting(
        "EXTENSION_EVENT_LOG_TRUSTED_PROXIES", (), NETWORKS,
        "Networks of proxies whose header counts. They must replace the header of a client.")
    event_log_hosts: tuple[str, ...] = _EVENT_LOG.setting(
        "EXTENSION_EVENT_LOG_HOSTS", (), HOST_NAMES,
        "Names under which browsers reach the event log, beside localhost and its address.")

    log_level: Literal["trace", "debug", "info", "warn", "error"] = _LOG.setting(
        "STEADYBIT_LOG_LEVEL", "info", one_of("trace", "debug", "info", "warn", "error", warning="warn"),
        "Lowest level of log lines that are written.")
    log_format: Literal["text", "json"] = _LOG.setting(
        "STEADYBIT_LOG_FORMAT", "text", one_of("text", "json"),
        "Format of log lines.")
    log_color: bool | None = _LOG.setting(
        "STEADYBIT_LOG_COLOR", None, TRUE_OR_FALSE,
        "Colours in text log lines. Unset: only on a terminal.")
    revision: str = _LOG.setting(
        "EXTENSION_REVISION", "", TEXT,
        "Revision in the log line with build information, which images set. Unset: the commit of git's working tree "
        "with the first handler file.", acts_in=(SERVE,))
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

    @property
    def longest_silence(self) -> float:
        """Seconds after which a worker without a sign of life is hung.

        It may wait twice for the database between two signs, and is not hung then.
        """
        return max(self.stalled_after, 2 * self.store_timeout + 4.0)

    @property
    def niceness_beside_server(self) -> int:
        """Niceness of the worker process that ``serve`` starts.

        The default for SQLite is 0, because a worker that holds the lock of the file while it waits for a core makes
        the web process wait, too.
        """
        if self.worker_niceness is not None:
            return self.worker_niceness
        return 0 if self.database_url.startswith("sqlite:") else 10

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
        if self.database_direct_url and self.database_url.startswith("sqlite:"):
            yield "EXTENSION_DATABASE_DIRECT_URL is set, but EXTENSION_DATABASE_URL is not, or names a SQLite file"
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
        others = {self.port: "STEADYBIT_EXTENSION_PORT", self.health_port: "STEADYBIT_EXTENSION_HEALTH_PORT"}
        if self.event_log_port and self.event_log_port in others and not self.unix_socket:
            ports = f"{others[self.event_log_port]} and EXTENSION_EVENT_LOG_PORT"
            yield f"{ports} are both {self.event_log_port}: two different ports are allowed"
