"""SMTP connection to a mail server, with a deadline for everything."""

import smtplib
import socket
import ssl
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Literal

from extension_kit.outgoing.deadlines import Deadline, TimedSocket, connect_to, wrap_tls
from extension_kit.senders.idle_connections import dial_first

Security = Literal["none", "starttls", "tls"]

_QUIT_SECONDS = 2.0
_READY, _OK = 220, 250


class MailConnection(smtplib.SMTP):
    """An SMTP connection with a deadline: every operation ends at it, even if the server sends a byte now and then.

    Args:
        host: the name that the server's certificate must be for.
        context: verifies the server.
    """

    def __init__(self, host: str, context: ssl.SSLContext) -> None:
        # smtplib would ask the name service for the full name, which has no timeout.
        name = socket.gethostname()
        super().__init__(local_hostname=name if "." in name else "[127.0.0.1]")
        self._host = host
        self._context = context
        self.deadline = Deadline()

    def open(self, addresses: Collection[str], port: int, security: Security) -> None:
        """Connect, and encrypt the connection as ``security`` says.

        Args:
            addresses: addresses of the server, in the order in which they are tried.
            port: port of the server.
            security: the kind of encryption.

        Raises:
            NoConnectionError: no address could be connected to in time.
            OSError: the connection was lost, or the server could not be verified.
            SMTPException: the server refused the connection, or does not support STARTTLS.
        """
        ends_at = self.deadline.at

        def dial(address: str, seconds: float) -> TimedSocket:
            self.deadline.at = time.monotonic() + seconds
            sock = connect_to(address, port, self.deadline)
            return wrap_tls(sock, self._context, self._host) if security == "tls" else sock

        sock = self.sock = dial_first(addresses, ends_at, dial)
        self.deadline.at = ends_at
        code, said = self.getreply()
        if code != _READY:
            raise smtplib.SMTPConnectError(code, said)
        if security == "starttls":
            self._start_tls(sock)

    def is_alive(self, ends_at: float) -> bool:
        """Return True if the server answers NOOP within half of the time until ``ends_at``."""
        now = time.monotonic()
        self.deadline.at = now + (ends_at - now) / 2
        with suppress(smtplib.SMTPException, OSError):
            return self.noop()[0] == _OK
        return False

    def quit_and_close(self) -> None:
        """Send QUIT and close the connection; never raises."""
        self.deadline.at = time.monotonic() + _QUIT_SECONDS
        with suppress(smtplib.SMTPException, OSError):
            self.quit()
        self.close()

    def _start_tls(self, sock: TimedSocket) -> None:
        """Start TLS as ``smtplib.SMTP.starttls`` does, with a handshake that ends at the deadline."""
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise smtplib.SMTPNotSupportedError("STARTTLS extension not supported by server.")
        code, said = self.docmd("STARTTLS")
        if code != _READY:
            raise smtplib.SMTPResponseException(code, said)
        self.sock = wrap_tls(sock, self._context, self._host)
        # Answers from before the encryption must be discarded (RFC 3207, section 4.2).
        self.file = None
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False
