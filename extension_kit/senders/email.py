"""E-mail, through one mail server."""

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

MAX_RECIPIENTS = 100  # what every server has to take (RFC 5321, section 4.5.3.1.8)
_IDLE_CONNECTIONS, _IDLE_SECONDS = 4, 15.0
_REMEMBERED = 1000
_MAX_SUBJECT = 500
_OK, _LOG_IN_FIRST = 250, 530
_OURS = frozenset(
    {"from", "to", "cc", "bcc", "sender", "reply-to", "return-path", "subject", "date", "message-id"}
    | {"auto-submitted", "mime-version", "content-type", "content-transfer-encoding"}
)
_POLICY = SMTP.clone(cte_type="7bit")  # every server takes it

# What HTML forms take for an e-mail address: less than RFC 5322 allows, but all that is in use.
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MAILBOX = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(\.{_LABEL})*\Z")
_is_plain_id = re.compile("[A-Za-z0-9_-]{1,128}").fullmatch

Replies = dict[str, tuple[int, bytes]]


class EmailTarget(Target):
    """The keys of a target."""

    to = fields.List(
        fields.String(validate=[validate.Regexp(_MAILBOX, error="Not an e-mail address."), validate.Length(max=254)]),
        required=True,
        validate=validate.Length(1, MAX_RECIPIENTS),
    )
    subject_prefix = fields.String(load_default="", validate=validate.Length(max=200))


class EmailSender:
    """Sends a message as an e-mail. What is not ``text/...`` is sent as plain text, for it is to be read.

    A target has these keys:

    - ``to``: a list of addresses. All of them see each other.
    - ``subject_prefix``: what is put before the message's subject.

    A message has arrived when the server has taken it for one recipient and refused the others for good, which the
    outcome's error names. While it refuses some for the moment, the message has failed, and the next attempt leaves out
    those it has been taken for, as far as this process remembers.

    Args:
        host: the mail server. It is the operator's, so its address is not checked.
        port: by default that of ``security``.
        security: ``starttls`` and ``tls`` verify the server; nothing is sent to one that cannot do it.
        username: to log in with; empty: without.
        password: to log in with.
        sender: whom the mails are from, such as ``Oncall <oncall@example.com>``.
        ca_file: PEM file with the authorities to trust instead of the system's.
        timeout: seconds for an attempt, in which the server has to have taken the mail.

    Raises:
        ConfigurationError: ``sender`` is no address, or the authorities cannot be used.
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
        # A server may repeat how it was told, too: AUTH PLAIN and AUTH LOGIN.
        told = [password, f"\0{username}\0{password}"] if password else []
        self._secrets = {password, *(b64encode(text.encode()).decode() for text in told)}
        self._context = client_context(ca_file)
        self._timeout = timeout
        self._schema = EmailTarget()
        self._idle: IdleConnections[MailConnection] = IdleConnections(
            MailConnection.leave, limit=_IDLE_CONNECTIONS, seconds=_IDLE_SECONDS
        )
        self._taken: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, target: dict[str, Any]) -> dict[str, str]:
        """Say what is wrong with a target, by key."""
        return self._schema.problems(target)

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._idle.close()

    def send(self, target: dict[str, Any], message: Message) -> Outcome:
        """Make one attempt."""
        try:
            keys = self._schema.load(target)
            mail = self._compose(keys, message)
        except ValidationError as error:
            return not_sent(error)
        with self._lock:
            taken = self._taken.get(message.id, frozenset())
        left = [address for address in dict.fromkeys(keys["to"]) if address not in taken] or keys["to"]
        try:
            server = self._connection(time.monotonic() + self._timeout)
        except UnresolvedError as error:
            return Outcome("failed", str(error), unreachable=True)
        except NoConnectionError as error:
            return replace(self._failure(error.cause, lasting=False), unreachable=True)
        except (smtplib.SMTPException, OSError) as error:  # whatever its code, it is not about this message
            return replace(self._failure(error, lasting=False), unreachable=True)
        try:
            refused: Replies = server.sendmail(self._from.addr_spec, left, mail)
        except smtplib.SMTPRecipientsRefused as error:
            server.close()
            return self._refusal(error.recipients, "refused" if _all_for_good(error.recipients) else "failed")
        except (smtplib.SMTPException, OSError) as error:
            server.close()
            return self._failure(error, lasting=True)
        self._idle.give("", server)
        arrived = _all_for_good(refused)
        self._remember(message.id, frozenset() if arrived else taken.union(left) - refused.keys())
        if refused:
            return self._refusal(refused, "delivered" if arrived else "failed")
        return Outcome("delivered", status=_OK)

    def _compose(self, keys: Mapping[str, Any], message: Message) -> bytes:
        check_headers(message.headers, _OURS)
        mail = EmailMessage(_POLICY)
        mail["From"] = self._from
        mail["To"] = ", ".join(keys["to"])
        mail["Subject"] = _one_line(f"{keys['subject_prefix']} {message.subject}")
        mail["Date"] = datetime.now(UTC)
        mail["Message-ID"] = f"<{_plain_id(message.id)}@{self._from.domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence note is to answer
        for name, value in message.headers.items():
            mail[name] = value
        kind, _, subtype = message.content_type.partition(";")[0].strip().lower().partition("/")
        mail.set_content(message.body.decode(errors="replace"), subtype if kind == "text" else "plain")
        return mail.as_bytes()

    def _connection(self, ends_at: float) -> MailConnection:
        server = self._idle.take("")
        if server is not None and not server.is_alive(ends_at):
            server.close()
            server = None
        server = server or self._connect(ends_at)
        server.deadline.at = ends_at
        return server

    def _connect(self, ends_at: float) -> MailConnection:
        addresses = self._addresses.of(self._host, self._port, ends_at - time.monotonic())
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

    def _remember(self, message_id: str, taken: frozenset[str]) -> None:
        with self._lock:
            self._taken.pop(message_id, None)
            if taken:
                self._taken[message_id] = taken
            if len(self._taken) > _REMEMBERED:
                self._taken.popitem(last=False)

    def _failure(self, error: BaseException, *, lasting: bool) -> Outcome:
        if not isinstance(error, smtplib.SMTPResponseException):
            return Outcome("failed", f"{self._host}: {reason(error)}")
        code = error.smtp_code
        result: Result = "refused" if lasting and code >= 500 and code != _LOG_IN_FIRST else "failed"
        return Outcome(result, f"{self._host}: answered {code}", code, self._excerpt(error.smtp_error))

    def _refusal(self, refused: Replies, result: Result) -> Outcome:
        code, said = max(refused.values())
        error = f"{self._host}: refused {', '.join(f'{address} ({code})' for address, (code, _) in refused.items())}"
        return Outcome(result, error, _OK if result == "delivered" else code, self._excerpt(said))

    def _excerpt(self, said: bytes | str) -> str | None:
        return excerpt(said, self._secrets)


def _all_for_good(refused: Replies) -> bool:
    return all(code >= 500 for code, _ in refused.values())


def _one_line(text: str) -> str:
    """An event's name becomes part of a subject: what it may hold must not end the header."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MAX_SUBJECT]


def _plain_id(text: str) -> str:
    return text if _is_plain_id(text) else blake2b(text.encode(), digest_size=16).hexdigest()
