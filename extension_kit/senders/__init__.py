"""Senders: make one attempt to deliver a message as a webhook, an e-mail, or a message of AMQP or NATS.

They are independent of the database, the engine and listeners.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Result = Literal["delivered", "failed", "refused", "not ready"]
"""A ``failed`` attempt may be repeated; a ``refused`` one is final; one of a function that is ``not ready`` does not
count."""

REFUSES_CREDENTIALS = (401, 403)
"""Statuses of receivers that refuse the credentials: those of HTTP, of which AMQP has the second, too."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message to deliver.

    ``id`` is the same for every attempt of one delivery, so that receivers can detect duplicates. ``headers`` are those
    of an HTTP request, an e-mail or a message of AMQP or NATS: ASCII, one line each.
    """

    id: str
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    subject: str = ""  # of an e-mail


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt.

    ``status`` is the answer's HTTP, SMTP or AMQP code, None without an answer; ``excerpt`` is the beginning of the
    answer's text, without secrets. ``retry_after`` is the minimum number of seconds to the next attempt, as the
    receiver demands it; ``retry_in`` is the exact number, in place of the retry schedule's. ``unreachable`` is True if
    no connection could be made, so that attempts for other targets at this host would fail, too.
    """

    result: Result
    error: str | None = None
    status: int | None = None
    excerpt: str | None = None
    retry_after: float | None = None
    retry_in: float | None = None
    unreachable: bool = False


class Sender(Protocol):
    """The contract of every sender."""

    def send(self, target: dict[str, Any], message: Message) -> Outcome:
        """Make one attempt. Failures of the receiver and of the network are outcomes, not exceptions.

        Args:
            target: the destination, in the keys that the sender documents; ``check`` accepted it when it was stored.
            message: the message to deliver.
        """
        ...

    def check(self, target: dict[str, Any]) -> dict[str, str]:
        """Return the problems of a target by key, empty for a valid one. Uses no network."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
