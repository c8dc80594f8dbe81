"""Settings of the extension."""

import re
import ssl
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from extension_kit import SettingError
from extension_kit.protocol import FILE, TEXT, Kind, seconds, setting, whole_number

_PORT = 4222
_NAME = re.compile(r"[^\s.*>/\\]{1,255}")
_SUBJECT = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
_FILTER = re.compile(r"([^\s.*>]+|\*)(\.([^\s.*>]+|\*))*(\.>)?|>")
_MOST_SUBJECT = 255


class Server(NamedTuple):
    """A server of NATS, and whether it has to speak TLS."""

    is_tls: bool
    host: str
    port: int

    def __str__(self) -> str:
        """Return its URL."""
        return f"{'tls' if self.is_tls else 'nats'}://{self.host}:{self.port}"


def _servers(text: str) -> tuple[Server, ...]:
    return tuple(_server(url.strip()) for url in text.split(","))


def _server(url: str) -> Server:
    parts = urlsplit(url)
    is_bare = not parts.path.strip("/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if parts.scheme not in ("nats", "tls") or not parts.hostname or parts.port == 0 or not is_bare:
        raise ValueError(url)
    return Server(parts.scheme == "tls", parts.hostname, parts.port or _PORT)


def _credentials(text: str) -> str:
    if not all(f"-----BEGIN {part}-----" in text for part in ("NATS USER JWT", "USER NKEY SEED")):
        raise ValueError(text)
    return text


def _matching(pattern: re.Pattern[str], allowed: str) -> Kind[str]:
    def parse(text: str) -> str:
        if len(text) > _MOST_SUBJECT or not pattern.fullmatch(text):
            raise ValueError(text)
        return text

    return Kind(parse, allowed)


SERVERS = Kind(_servers, "nats://HOST:PORT, or tls, separated by commas and without a login")
NAME = _matching(_NAME, "a name without blanks, dots, slashes and wildcards")
SUBJECT = _matching(_SUBJECT, "a subject such as events.rejected, without wildcards")
CREDENTIALS = Kind(_credentials, "the text of a credentials file, with the JWT and the seed of a user")
FILTER = _matching(_FILTER, "a subject such as orders.created or orders.>")


@dataclass(frozen=True)
class JetStreamSettings:
    """Settings of the extension.

    Raises:
        SettingError: a setting is missing, or two contradict each other.
    """

    servers: tuple[Server, ...] = setting(
        "EXTENSION_JETSTREAM_URL", (Server(False, "localhost", _PORT),), SERVERS,
        "Servers of NATS, tried in this order.", secret=True)  # fmt: skip
    stream: str = setting(
        "EXTENSION_JETSTREAM_STREAM", "", NAME,
        "Stream from which CloudEvents are taken. It must exist. Needed.")  # fmt: skip
    consumer: str = setting(
        "EXTENSION_JETSTREAM_CONSUMER", "extension-kit", NAME,
        "Durable pull consumer of the stream, which remembers what was taken. It is made if it does not exist.",
    )  # fmt: skip
    subject: str = setting(
        "EXTENSION_JETSTREAM_SUBJECT", "", FILTER,
        "Subjects to take of those in the stream. Unset: all, or those of a consumer that exists.")  # fmt: skip
    batch: int = setting(
        "EXTENSION_JETSTREAM_BATCH", 1, whole_number(1, 100),
        "Messages that are taken and committed together. More than 1 is faster, but the order of the stream is lost "
        "after a crash, and with several workers.")  # fmt: skip
    ack_wait: float = setting(
        "EXTENSION_JETSTREAM_ACK_WAIT", 30.0, seconds(1, 3600),
        "Seconds after which NATS sends a message again that a worker has taken and not acknowledged, because it was "
        "killed.")  # fmt: skip
    rejected_subject: str = setting(
        "EXTENSION_JETSTREAM_REJECTED_SUBJECT", "", SUBJECT,
        "Subject to which messages go that are no CloudEvents. A stream has to take it: until it does, nothing further "
        "is taken. Unset: they are logged only.",
    )  # fmt: skip
    username: str = setting(
        "EXTENSION_JETSTREAM_USERNAME", "", TEXT,
        "User name at NATS.")  # fmt: skip
    password: str = setting(
        "EXTENSION_JETSTREAM_PASSWORD", "", TEXT,
        "Password of that user.", secret=True)  # fmt: skip
    token: str = setting(
        "EXTENSION_JETSTREAM_TOKEN", "", TEXT,
        "Token, in place of user name and password.", secret=True)  # fmt: skip
    credentials: str = setting(
        "EXTENSION_JETSTREAM_CREDENTIALS", "", CREDENTIALS,
        "Credentials, in place of both, as in `EXTENSION_JETSTREAM_CREDENTIALS_FILE=/etc/nats/user.creds`.",
        secret=True)  # fmt: skip
    ca_file: str = setting(
        "EXTENSION_JETSTREAM_CA_FILE", "", FILE,
        "CA certificates to trust in place of the system's.")  # fmt: skip
    certificate: str = setting(
        "EXTENSION_JETSTREAM_CERTIFICATE", "", FILE,
        "Certificate to show to NATS.")  # fmt: skip
    certificate_key: str = setting(
        "EXTENSION_JETSTREAM_CERTIFICATE_KEY", "", FILE,
        "Private key of that certificate.")  # fmt: skip

    def __post_init__(self) -> None:
        if not self.stream:
            raise SettingError("EXTENSION_JETSTREAM_STREAM is not set: name the stream that CloudEvents are taken from")
        if bool(self.username) != bool(self.password):
            raise SettingError("EXTENSION_JETSTREAM_USERNAME and EXTENSION_JETSTREAM_PASSWORD go together: set both")
        if sum(map(bool, (self.username, self.token, self.credentials))) > 1:
            raise SettingError(
                "EXTENSION_JETSTREAM_USERNAME, EXTENSION_JETSTREAM_TOKEN and EXTENSION_JETSTREAM_CREDENTIALS exclude "
                "each other: set one"
            )
        if bool(self.certificate) != bool(self.certificate_key):
            raise SettingError(
                "EXTENSION_JETSTREAM_CERTIFICATE and EXTENSION_JETSTREAM_CERTIFICATE_KEY go together: set both"
            )
        has_files = self.ca_file or self.certificate
        if has_files and not all(server.is_tls for server in self.servers):
            raise SettingError(
                "EXTENSION_JETSTREAM_URL has servers without TLS, but certificates are set: write tls://"
            )
        self.tls_context()
        if self.rejected_subject and self.rejected_subject == self.subject:
            raise SettingError("EXTENSION_JETSTREAM_REJECTED_SUBJECT is the subject that is taken: name another one")

    def tls_context(self) -> ssl.SSLContext:
        """Return the TLS context for the servers.

        Raises:
            SettingError: a certificate cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except OSError:
            raise SettingError("EXTENSION_JETSTREAM_CA_FILE is no PEM file of certificates") from None
        if self.certificate:
            try:
                context.load_cert_chain(self.certificate, self.certificate_key, password=_refuse_password)
            except (OSError, ValueError):
                raise SettingError(
                    "EXTENSION_JETSTREAM_CERTIFICATE and EXTENSION_JETSTREAM_CERTIFICATE_KEY are no certificate and "
                    "its key, as PEM and without a password"
                ) from None
        return context


def _refuse_password() -> str:
    raise ValueError("a key with a password, which OpenSSL would ask for on the terminal")
