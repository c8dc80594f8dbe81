"""E-mail sender: sends messages through one mail server."""

import re
import smtplib
import threading
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from hashlib import blake2b
from typing import Any

from marshmallow import ValidationError, fields, validate

from extension_kit.errors import ConfigurationError
from extension_kit.senders import Message, Outcome, Result
from extension_kit.senders.addresses import ANYWHERE, Addresses, UnresolvedError
from extension_kit.senders.email_connection import MailConnection, Security
from extension_kit.senders.excerpts import excerpt, reason
from extension_kit.senders.idle_connections import IdleConnections, NoConnectionError, client_context
from extension_kit.senders.target_schema import Target, check_headers, not_sent
from extension_kit.senders.traced import traced

MAX_RECIPIENTS = 100  # every server has to take so many (RFC 5321, section 4.5.3.1.8)
_IDLE_CONNECTIONS, _IDLE_SECONDS = 4, 15.0
_MAX_REMEMBERED = 1000
_MAX_SUBJECT = 500
_OK, _AUTHENTICATION_REQUIRED = 250, 530
_RESERVED_HEADERS = frozenset(
    {"from", "to", "cc", "bcc", "sender", "reply-to", "return-path", "subject", "date", "message-id"}
    | {"auto-submitted", "mime-version", "content-type", "content-transfer-encoding"}
)
_POLICY = SMTP.clone(cte_type="7bit")  # all servers support it

# The e-mail addresses of HTML forms: fewer than RFC 5322 allows, but all that are in use.
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MAILBOX = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(\.{_LABEL})*\Z")
_is_plain_id = re.compile("[A-Za-z0-9_-]{1,128}").fullmatch

Replies = dict[str, tuple[int, bytes]]


class EmailTarget(Target):
    """Schema of an e-mail target."""

    to = fields.List(
        fields.String(validate=[validate.Regexp(_MAILBOX, error="Not an e-mail address."), validate.Length(max=254)]),
        required=True,
        validate=validate.Length(1, MAX_RECIPIENTS),
    )
    subject_prefix = fields.String(load_default="", validate=validate.Length(max=200))


class EmailSender:
    """Sends a message as an e-mail. Bodies of other types than ``text/...`` are sent as plain text.

    A target has these keys:

    - ``to``: a list of addresses. All recipients see all addresses.
    - ``subject_prefix``: a text before the message's subject.

    A message is delivered if the server has accepted it for one recipient at least and refused the others permanently;
    the outcome's error names those. If it refuses some temporarily, the attempt has failed, and the next one leaves out
    the recipients that were accepted, as far as this process remembers.

    Args:
        host: the mail server. The operator configures it, so its address is not checked.
        port: the port; by default the usual one of ``security``.
        security: encryption; ``starttls`` and ``tls`` verify the server, and send nothing to one without encryption.
        username: the name to log in with; empty for no login.
        password: the password to log in with.
        sender: the sender's address, such as ``Oncall <oncall@example.com>``.
        ca_file: PEM file with CA certificates to trust instead of the system's.
        timeout: seconds for an attempt, until the server's acceptance.
        remembered: maximum number of messages whose accepted recipients are remembered.

    Raises:
        ConfigurationError: ``sender`` is no address, or ``ca_file`` cannot be used.
    """

    def __init__(
        self,
        host: str,
        *,
        sender: str,
        port: int | None = None,
        security: Security = "starttls",
        username: str = "",
        password: str = "",
        ca_file: str | None = None,
        timeout: float = 30.0,
        remembered: int = _MAX_REMEMBERED,
    ) -> None:
        name, address = parseaddr(sender)
        if not _MAILBOX.match(address) or not sender.isprintable():
            raise ConfigurationError(f"{sender!r:.100} is no sender of e-mails: oncall@example.com would be one")
        self._from = Address(name, addr_spec=address)
        self._addresses = Addresses(ANYWHERE)
        self._host = host
        self._port = port or {"none": 25, "starttls": 587, "tls": 465}[security]
        self._security = security
        self._username = username
        self._password = password
        # A server may repeat the encoded credentials of AUTH PLAIN and AUTH LOGIN, too.
        credentials = [password, f"\0{username}\0{password}"] if password else []
        self._secrets = {password, *(b64encode(text.encode()).decode() for text in credentials)}
        self._context = client_context(ca_file)
        self._timeout = timeout
        self._schema = EmailTarget()
        self._idle: IdleConnections[MailConnection] = IdleConnections(
            MailConnection.quit_and_close, limit=_IDLE_CONNECTIONS, seconds=_IDLE_SECONDS
        )
        self._remembered = remembered
        self._accepted: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, target: dict[str, Any]) -> dict[str, str]:
        """Return the problems of a target by key."""
        return self._schema.problems(target)

    def close(self) -> None:
        """Close the idle connections."""
        self._idle.close()

    @traced("send e-mail", {"network.protocol.name": "smtp"}, with_headers=False)
    def send(self, target: dict[str, Any], message: Message) -> Outcome:
        """Make one attempt, which ends within the timeout."""
        try:
            keys = self._schema.load(target)
            mail = self._compose(keys, message)
        except ValidationError as error:
            return not_sent(error)
        with self._lock:
            accepted = self._accepted.get(message.id, frozenset())
        left = [address for address in dict.fromkeys(keys["to"]) if address not in accepted] or keys["to"]
        try:
            server = self._connection(time.monotonic() + self._timeout)
        except UnresolvedError as error:
            return Outcome("failed", str(error), unreachable=True)
        except NoConnectionError as error:
            return replace(self._failure(error.cause, may_be_permanent=False), unreachable=True)
        except (smtplib.SMTPException, OSError) as error:  # such an error is never about the message
            return replace(self._failure(error, may_be_permanent=False), unreachable=True)
        try:
            refused: Replies = server.sendmail(self._from.addr_spec, left, mail)
        except smtplib.SMTPRecipientsRefused as error:
            server.close()
            return self._refusal(error.recipients, "refused" if _all_permanent(error.recipients) else "failed")
        except (smtplib.SMTPException, OSError) as error:
            server.close()
            return self._failure(error, may_be_permanent=True)
        self._idle.release("", server)
        delivered = _all_permanent(refused)
        self._remember(message.id, frozenset() if delivered else accepted.union(left) - refused.keys())
        if refused:
            return self._refusal(refused, "delivered" if delivered else "failed")
        return Outcome("delivered", status=_OK)

    def _compose(self, keys: Mapping[str, Any], message: Message) -> bytes:
        check_headers(message.headers, _RESERVED_HEADERS)
        mail = EmailMessage(_POLICY)
        mail["From"] = self._from
        mail["To"] = ", ".join(keys["to"])
        mail["Subject"] = _one_line(f"{keys['subject_prefix']} {message.subject}")
        mail["Date"] = datetime.now(UTC)
        mail["Message-ID"] = f"<{_plain_id(message.id)}@{self._from.domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: suppresses absence notes
        for name, value in message.headers.items():
            mail[name] = value
        kind, _, subtype = message.content_type.partition(";")[0].strip().lower().partition("/")
        mail.set_content(message.body.decode(errors="replace"), subtype if kind == "text" else "plain")
        return mail.as_bytes()

    def _connection(self, ends_at: float) -> MailConnection:
        server = self._idle.acquire("")
        if server is not None and not server.is_alive(ends_at):
            server.close()
            server = None
        server = server or self._connect(ends_at)
        server.deadline.at = ends_at
        return server

    def _connect(self, ends_at: float) -> MailConnection:
        addresses = self._addresses.resolve(self._host, self._port, ends_at - time.monotonic())
        server = MailConnection(self._host, self._context)
        server.deadline.at = ends_at
        try:
            server.open(addresses, self._port, self._security)
            if self._username:
                server.login(self._username, self._password)
        except BaseException:
            server.close()
            raise
        return server

    def _remember(self, message_id: str, accepted: frozenset[str]) -> None:
        with self._lock:
            self._accepted.pop(message_id, None)
            if accepted:
                self._accepted[message_id] = accepted
            if len(self._accepted) > self._remembered:
                self._accepted.popitem(last=False)

    def _failure(self, error: BaseException, *, may_be_permanent: bool) -> Outcome:
        if not isinstance(error, smtplib.SMTPResponseException):
            return Outcome("failed", f"{self._host}: {reason(error)}")
        code = error.smtp_code
        result: Result = (
            "refused" if may_be_permanent and code >= 500 and code != _AUTHENTICATION_REQUIRED else "failed"
        )
        return Outcome(result, f"{self._host}: answered {code}", code, self._excerpt(error.smtp_error))

    def _refusal(self, refused: Replies, result: Result) -> Outcome:
        code, said = max(refused.values())
        error = f"{self._host}: refused {', '.join(f'{address} ({code})' for address, (code, _) in refused.items())}"
        return Outcome(result, error, _OK if result == "delivered" else code, self._excerpt(said))

    def _excerpt(self, said: bytes | str) -> str | None:
        return excerpt(said, self._secrets)


def _all_permanent(refused: Replies) -> bool:
    return all(code >= 500 for code, _ in refused.values())


def _one_line(text: str) -> str:
    """Return a text as one line, because a line break in an event's name would end the header."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MAX_SUBJECT]


def _plain_id(text: str) -> str:
    return text if _is_plain_id(text) else blake2b(text.encode(), digest_size=16).hexdigest()
