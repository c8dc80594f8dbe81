"""Grouped routes: routes of protocols whose requests are written to the database in groups."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from extension_kit.errors import RegistrationError
from extension_kit.events.answers import Answer
from extension_kit.events.unfinished import unfinished_kind

if TYPE_CHECKING:
    # A service with immediate listeners only has none of their libraries.
    from extension_kit.deliveries.outbox import Outbox
    from extension_kit.runtime.kit import Kit, Transaction

Item = TypeVar("Item")


class ReceivedRequest(NamedTuple):
    """A request with its whole body.

    Attributes:
        method: in upper case.
        path: decoded, without the query.
        query_string: as it was sent, without its question mark.
        headers: by name in lower case; the values of a repeated header are joined by commas.
        body: within the limit of the kit.
        connection: the variables of its connection, as WSGI names them: ``REMOTE_ADDR``, the client's address, and
            those of ``peer_certificate``. There may be others.
        trace_context: of its span, for ``PublishedEvent.of``; "" without tracing.
    """

    method: str
    path: str
    query_string: bytes
    headers: Mapping[str, str]
    body: bytes
    connection: Mapping[str, Any] = MappingProxyType({})
    trace_context: str = ""

    def query(self) -> dict[str, str]:
        """Return the parameters of the query, decoded; of a repeated one the first value."""
        text = self.query_string.decode("utf-8", "replace")
        found: dict[str, str] = {}
        for name, value in parse_qsl(text, keep_blank_values=True, errors="replace"):
            found.setdefault(name, value)
        return found


def _admit(request: ReceivedRequest) -> Answer | None:
    """Admit every request."""
    return None


@dataclass(frozen=True)
class GroupedRoute(Generic[Item]):
    """A route with requests that are written in groups: one transaction for all that arrived during the one before.

    One commit for many requests makes each of them cheap. ``serve`` answers such requests without Flask; behind other
    servers a view of Flask does the same. All answers and errors are in the protocol's own form: exceptions of
    ``parse``, and those that ``write`` returns, are answered by ``answer_error`` of the ``Routes``.

    Args:
        method: such as ``POST``.
        path: without variables, below the ``paths`` of the ``Routes``.
        parse: makes an item of a request, or answers it. It takes microseconds and waits for nothing: it runs on the
            event loop unless the body is large, and without a transaction. It does not use Flask's ``request``.
        write: writes items in the order of their arrival, in a transaction, and returns an answer or an exception for
            each. Answers are sent after the commit. If it raises, nothing is written, and each item is written by
            itself, so that an item that cannot be written harms no other.
        admit: answers a request with a body that is too large or broken, and left out, where this answer goes before
            that of the body, such as one about the caller; None: the body's.
        endpoint: the name of its view in Flask, such as ``doorbell.ring``; empty: one made of method and path.
        takes_slash: False: the path with a slash at its end is another path; True: the slash makes no difference.
        is_slow: returns True for a request, given without its body, that ``parse`` and ``admit`` may take long for,
            such as one with a password to be checked: it is answered on a thread, with Flask; None: no request is slow.

    Raises:
        RegistrationError: the method or the path is none, or a function is async or a generator.
    """

    method: str
    path: str
    parse: Callable[[ReceivedRequest], Item | Answer]
    write: "Callable[[Transaction, Sequence[Item]], Sequence[Answer | Exception]]"
    admit: Callable[[ReceivedRequest], Answer | None] = _admit
    endpoint: str = ""
    takes_slash: bool = True
    is_slow: Callable[[ReceivedRequest], bool] | None = None

    def __post_init__(self) -> None:
        if not self.method.isupper() or not self.path.startswith("/") or "<" in self.path:
            raise RegistrationError(
                f"a grouped route has a method in upper case and a path without variables, not {self.name!r:.80}"
            )
        for function in (self.parse, self.write, self.admit, self.is_slow):
            if function is not None and unfinished_kind(function):
                raise RegistrationError(
                    f"a grouped route needs plain functions: write {function!r:.80} without async and yield"
                )

    @property
    def name(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"


class RouteWriter:
    """Commits the items of a grouped route; the ``Writer`` of its group commit.

    Args:
        kit: makes the transactions.
        outbox: checks the database.
        route: writes the items.
    """

    def __init__(self, kit: "Kit", outbox: "Outbox", route: GroupedRoute[Any]) -> None:
        self._kit = kit
        self._route = route
        self.database_name = outbox.database_name
        self.check_writable = outbox.check_writable

    def commit(self, items: Sequence[Any]) -> Sequence[Answer | Exception]:
        """Commit items in one transaction, and return their answers.

        Raises:
            StoreError: the database cannot be used; nothing was committed.
            RuntimeError: the route's ``write`` has not answered every item; nothing was committed.
        """
        with self._kit.transaction() as transaction:
            answers = self._route.write(transaction, items)
            if len(answers) != len(items):
                raise RuntimeError(f"{self._route.name}: {len(answers)} answers to {len(items)} requests")
        return answers
