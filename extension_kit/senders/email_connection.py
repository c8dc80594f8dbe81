"""A connection to a mail server, on which nothing takes longer than its attempt may."""

import smtplib
import socket
import ssl
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Literal

from extension_kit.outgoing.deadlines import Deadline, TimedSocket, connected_to, secured
from extension_kit.senders.idle_connections import dial_in_turn

Security = Literal["none", "starttls", "tls"]

_FAREWELL_SECONDS = 2.0
_READY, _OK = 220, 250


class MailConnection(smtplib.SMTP):
    """A connection that ``deadline`` ends, whatever the server does: sends a byte now and then, or nothing.

    Args:
        host: whom the server's certificate has to be for.
        context: verifies it.
    """

    def __init__(self, host: str, context: ssl.SSLContext) -> None:
        # As smtplib does it, but without asking the name service, which may take longer than any timeout.
        name = socket.gethostname()
        super().__init__(local_hostname=name if "." in name else "[127.0.0.1]")
        self._host = host
        self._context = context
        self.deadline = Deadline()

    def open(self, addresses: Collection[str], port: int, security: Security) -> None:
        """Connect, and shake hands as ``security`` says; nothing is sent to a server that cannot do it.

        Args:
            addresses: of the server, in the order in which they are tried.
            port: where it listens.
            security: how the connection is encrypted.

        Raises:
            NoConnectionError: there is no connection, or not in time.
            OSError: it was lost.
            SMTPException: the server does not want us, or cannot do what is wanted.
        """
        ends_at = self.deadline.at

        def dial(address: str, seconds: float) -> TimedSocket:
            self.deadline.at = time.monotonic() + seconds
            sock = connected_to(address, port, self.deadline)
            return secured(sock, self._context, self._host) if security == "tls" else sock

        sock = self.sock = dial_in_turn(addresses, ends_at, dial)
        self.deadline.at = ends_at
        code, said = self.getreply()
        if code != _READY:
            raise smtplib.SMTPConnectError(code, said)
        if security == "starttls":
            self._shake_hands(sock)

    def is_alive(self, ends_at: float) -> bool:
        """Whether the server still answers; it is asked for half of the time that is left until ``ends_at``."""
        now = time.monotonic()
        self.deadline.at = now + (ends_at - now) / 2
        with suppress(smtplib.SMTPException, OSError):
            return self.noop()[0] == _OK
        return False

    def leave(self) -> None:
        """Take leave of the server, and close."""
        self.deadline.at = time.monotonic() + _FAREWELL_SECONDS
        with suppress(smtplib.SMTPException, OSError):
            self.quit()
        self.close()

    def _shake_hands(self, sock: TimedSocket) -> None:
        """Do what ``starttls`` does, where the handshake ends in time, too."""
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise smtplib.SMTPNotSupportedError("STARTTLS extension not supported by server.")
        code, said = self.docmd("STARTTLS")
        if code != _READY:
            raise smtplib.SMTPResponseException(code, said)
        self.sock = secured(sock, self._context, self._host)
        # What was said before is forgotten (RFC 3207, section 4.2).
        self.file = None
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False
