"""Events of other protocols than Steadybit's, as extensions publish them and listeners get them."""

from datetime import UTC, datetime
from typing import Any, Self

import orjson

from extension_kit.events.event import Event, FindStep

_UNREAD = object()


class PublishedEvent(Event):
    """An event that an extension publishes; extensions derive views of their own from it, for what is in ``data``.

    The Steadybit objects are None. ``body`` and ``raw`` are the data as the protocol has it.
    """

    __slots__ = ("_content", "scope")
    _content: Any
    scope: str | None
    """Whose it is: subscriptions of others do not get it. Known only where it is published."""

    def __init__(
        self,
        data: dict[str, Any],
        body: bytes,
        deadline: float | None = None,
        find_step: FindStep | None = None,
        scope: str | None = None,
    ) -> None:
        super().__init__(data, body, deadline, find_step)
        object.__setattr__(self, "_content", _UNREAD)
        object.__setattr__(self, "scope", scope)

    @classmethod
    def of(
        cls,
        *,
        source: str,
        id: str,
        name: str,
        data: Any = None,
        body: bytes | None = None,
        time: datetime | None = None,
        subject: str | None = None,
        series: str | None = None,
        scope: str | None = None,
        deadline: float | None = None,
    ) -> Self:
        """Make an event.

        Args:
            source: the protocol it comes from.
            id: unique among the events of its source: what comes again under the same id is the same event.
            name: such as ``croneye.job.error``: parts joined by dots.
            data: what it says, as JSON data.
            body: the same as JSON, instead of ``data``.
            time: when it happened, aware; None: it is not known.
            subject: what it is about.
            series: what it is delivered in order with; None: in any order. All protocols share the series of a name, so
                begin it with the protocol's.
            scope: whose it is, where a protocol keeps its users apart; None: everybody's.
            deadline: when a listener must have handled it, by ``time.monotonic()``.

        Raises:
            TypeError: ``data`` is no JSON data that can be written: it is nested more than 254 deep, or holds whole
                numbers of more than 64 bits or halves of characters, as Python's own ``json`` reads them.
        """
        moment = time.astimezone(UTC).isoformat() if time else None
        head = {"source": source, "id": id, "eventName": name, "eventTime": moment, "subject": subject}
        return cls({**head, "series": series}, orjson.dumps(data) if body is None else body, deadline, None, scope)

    @property
    def source(self) -> str:
        """The protocol the event comes from."""
        source: str = self._data["source"]
        return source

    @property
    def subject(self) -> str | None:
        """What the event is about."""
        subject: str | None = self._data["subject"]
        return subject

    @property
    def series(self) -> str | None:
        """What it is handled in order with, or None."""
        series: str | None = self._data["series"]
        return series

    @property
    def data(self) -> Any:
        """What the event says. It is not a copy, ``raw`` is."""
        if self._content is _UNREAD:
            object.__setattr__(self, "_content", self.raw)
        return self._content

    @property
    def raw(self) -> Any:
        """What the event says, decoded anew at each access: changing it changes nothing else."""
        return orjson.loads(self._body)
