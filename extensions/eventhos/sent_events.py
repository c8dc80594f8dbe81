"""Sent events: the events that the keys of requests may send (eventhos, Send Event)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection
from werkzeug.datastructures import Headers

from .answers import EventhosError
from .api import Api
from .kept_rows import KeptRows, SentEvent
from .sender_keys import SenderKey, SenderKeys

KEY = "access-key"
_IDENTIFIER = "event-identifier"


class SentEvents:
    """Finds the events that keys may send.

    Args:
        api: the parts that views share.

    Attributes:
        keys: reads keys.
    """

    def __init__(self, api: Api) -> None:
        is_upstream = api.settings.profile == "upstream"
        self.keys = SenderKeys(api.access, is_upstream=is_upstream)
        self._kept = KeptRows()
        self._unknown = 400202 if is_upstream else 400024

    def find(self, connection: Connection, wanted: Sequence[tuple[SenderKey, str]]) -> list[SentEvent | EventhosError]:
        """Return the event for each key and identifier, or the error if the key may not send it or there is none.

        A wrong key is not told which events there are.
        """
        texts = {key.text for key, _ in wanted if not key.is_token}
        keys, events = self._kept.read(connection, texts, {identifier for _, identifier in wanted})
        now = datetime.now(UTC)
        clients = {text: key.client for text, key in keys.items() if key.expires_at is None or key.expires_at > now}
        return [
            self._checked(
                events.get(identifier), identifier, key.client if key.is_token else clients.get(key.text), key
            )
            for key, identifier in wanted
        ]

    def _checked(
        self, event: SentEvent | None, identifier: str, client: int | None, key: SenderKey
    ) -> SentEvent | EventhosError:
        if client is None:
            return self.keys.refusal(key)
        if event is None:
            return EventhosError(400, self._unknown, f"The event {identifier:.100} does not exist.")
        if event.client is None or event.client_deleted:
            return EventhosError(404, 404201, "The client does not exist.")
        if client != event.client:
            return self.keys.refusal(key)
        if event.revoked:
            return EventhosError(
                403, 403201, f"The client access has been revoked: id: {event.client}  client_id: {event.client_id}"
            )
        return event


def named(query: Mapping[str, str], headers: Mapping[str, str] | Headers) -> tuple[str, str]:
    """Return the access key, of the query or of its header, and the event identifier.

    Raises:
        EventhosError: 400, one of them is missing.
    """
    key = query.get(KEY) or headers.get(KEY, "")
    identifier = query.get(_IDENTIFIER, "")
    if not key or not identifier:
        raise EventhosError(400, 400201, "Either the access key or the identifier for the event was not send.")
    return key, identifier.replace("\x00", "\ufffd")
