"""How an attempt is made. Senders know nothing of tables, engines or listeners."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Result = Literal["delivered", "failed", "refused"]
"""``failed`` may be tried again; ``refused`` will not get better by trying."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be delivered.

    ``id`` is the same for every attempt of one delivery: receivers know by it what they have seen. ``headers`` are
    those of an HTTP request, an e-mail or an AMQP message: ASCII, one line each.
    """

    id: str
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    subject: str = ""  # of an e-mail


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    ``status`` is the answer's HTTP, SMTP or AMQP code where there was one, ``excerpt`` the beginning of what the
    receiver said, without secrets. ``retry_after`` are seconds in which the receiver does not want to be asked again,
    ``retry_in`` those after which it is asked again whatever the retry schedule says. ``unreachable`` means that there
    was no connection, as there would be none for any other target at this host.
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
        """Make one attempt; never raises for what a receiver or the network does.

        Args:
            target: where to, as the sender documents it; checked by ``check`` when it was made.
            message: what to deliver.
        """
        ...

    def check(self, target: dict[str, Any]) -> dict[str, str]:
        """Say what is wrong with a target: messages by key, empty for a sound one. No network is used."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...
