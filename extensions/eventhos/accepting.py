"""Accepting: events that systems send, read and encrypted outside a transaction, and accepted in groups."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

import orjson

from extension_kit.protocol import GroupedRoute, ReceivedRequest, RouteAnswer, Transaction, read_foreign_json

from .answers import READ, TOO_LARGE, UNCATEGORISED, EventhosError, route_answer
from .api import Api
from .bounded_cache import BoundedCache
from .nesting import write_nested
from .sender_keys import SenderKey
from .sending import Accepted, accept
from .sent_events import SentEvents, named

_IDEMPOTENCY = "idempotency-key"
_UNSTORED_HEADERS = frozenset({"access-key", "authorization", "proxy-authorization", "cookie"})
_UNSTORED_PARAMETERS = frozenset({"access-key", "access_token"})
_MOST_KEY = 255  # characters of an Idempotency-Key
_MOST_KEPT = 1000  # queries
_LONGEST_KEPT = 200  # bytes


class _Sent(NamedTuple):
    """A request that sends an event: the event's identifier, the request encrypted, its body as JSON, its trace."""

    key: SenderKey
    identifier: str
    request: bytes
    content: bytes
    idempotency_key: str | None
    trace_context: str


class _Query(NamedTuple):
    """The query of a request: as it was sent, and without keys, alone and with the path."""

    sent: Mapping[str, str]
    stored: Mapping[str, str]
    url: str


class Accepting:
    """The route /event/send (eventhos, Send Event).

    Args:
        api: the parts that views share.
        sent_events: finds the events that keys may send.
    """

    def __init__(self, api: Api, sent_events: SentEvents) -> None:
        self._api = api
        self._sent_events = sent_events
        # Senders repeat their queries, which take longer to read than their events; those with keys are not kept.
        self._queries: BoundedCache[_Query] = BoundedCache(_MOST_KEPT)
        is_upstream = api.settings.profile == "upstream"
        self._accepted = route_answer(20000 if is_upstream else READ)
        self._without_contract = route_answer(
            200310, "Success, but no contracts exists for this event", 203 if is_upstream else 200
        )

    @property
    def route(self) -> GroupedRoute[_Sent]:
        """The route."""
        return GroupedRoute("POST", "/event/send", self._parse, self._write)

    def _parse(self, request: ReceivedRequest) -> _Sent:
        """Read a request.

        Raises:
            EventhosError: 400, it is not JSON, or it has no key or no identifier; 413, it is too large.
        """
        content = self._content(request.body)
        query = self._query(request)
        key, identifier = named(query.sent, request.headers)
        idempotency_key = request.headers.get(_IDEMPOTENCY)
        if idempotency_key is not None and not 0 < len(idempotency_key) <= _MOST_KEY:
            raise EventhosError(400, 400201, f"Idempotency-Key has 1 to {_MOST_KEY} characters")
        stored = self._api.encryption.encrypt(
            {
                "headers": {name: value for name, value in request.headers.items() if name not in _UNSTORED_HEADERS},
                "query": query.stored,
                "body": orjson.Fragment(content),
                "method": request.method,
                "url": query.url,
            }
        )
        sender = self._sent_events.keys.read(key)
        return _Sent(sender, identifier, stored, content, idempotency_key, request.trace_context)

    def _write(self, transaction: Transaction, sent: Sequence[_Sent]) -> list[RouteAnswer | Exception]:
        found = self._sent_events.find(transaction.connection, [(each.key, each.identifier) for each in sent])
        accepted: list[Accepted] = []
        answers: list[RouteAnswer | Exception] = []
        for each, event in zip(sent, found, strict=True):
            if isinstance(event, EventhosError):
                answers.append(event)
                continue
            accepted.append(
                Accepted(
                    event.id,
                    event.identifier,
                    each.request,
                    event.contracts,
                    each.content,
                    each.idempotency_key,
                    trace_context=each.trace_context,
                )
            )
            answers.append(self._accepted if event.contracts else self._without_contract)
        if accepted:
            accept(transaction, accepted)
        return answers

    def _content(self, body: bytes) -> bytes:
        """Return the JSON text of a body; an empty object without one.

        Raises:
            EventhosError: 400, it is not JSON; 413, it is too large.
        """
        if len(body) > self._api.settings.max_body_bytes:
            raise EventhosError(413, UNCATEGORISED, TOO_LARGE)
        if not body:
            return b"{}"
        try:
            return write_nested(read_foreign_json(body).value)
        except (ValueError, TypeError) as error:
            raise EventhosError(400, UNCATEGORISED, f"the body is not JSON: {error}") from None

    def _query(self, request: ReceivedRequest) -> _Query:
        place = request.path, request.query_string
        query = self._queries.get(place)
        if query is None:
            query = _read_query(request)
            if len(request.query_string) <= _LONGEST_KEPT and len(query.stored) == len(query.sent):
                self._queries.put(place, query)
        return query


def _read_query(request: ReceivedRequest) -> _Query:
    sent = request.query()
    stored = {name: value for name, value in sent.items() if name not in _UNSTORED_PARAMETERS}
    return _Query(sent, stored, f"{request.path}?{urlencode(stored)}")
