"""Published events: events of other protocols than Steadybit's, published by extensions."""

from datetime import UTC, datetime
from typing import Any, Self

import orjson

from extension_kit.events.event import Event, FindStep
from extension_kit.events.views import slot_setter

_UNREAD = object()


class PublishedEvent(Event):
    """An event that an extension publishes. Extensions derive their own classes from it, with attributes of ``data``.

    The Steadybit objects are None. ``body`` and ``raw`` are the data in the form of the protocol.
    """

    __slots__ = ("_content", "_scope", "_trace_context")
    _content: Any
    _scope: str | None
    _trace_context: str

    def __init__(
        self,
        data: dict[str, Any],
        body: bytes,
        deadline: float | None = None,
        find_step: FindStep | None = None,
        scope: str | None = None,
        trace_context: str = "",
    ) -> None:
        super().__init__(data, body, deadline, find_step)
        _set_content(self, _UNREAD)
        _set_scope(self, scope)
        _set_trace_context(self, trace_context)

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
        trace_context: str = "",
    ) -> Self:
        """Make an event.

        Args:
            source: the protocol of the event.
            id: unique among the events of its source: two events with the same id are the same event.
            name: the event name, parts joined by dots, such as ``croneye.job.error``.
            data: the content, as JSON data.
            body: the content as JSON text, instead of ``data``.
            time: the time of the event, aware; None: unknown.
            subject: the subject of the event, such as a job.
            series: events of a series are delivered in order; None: in any order. All protocols share one space of
                series, so begin it with the name of the protocol.
            scope: the owner of the event, where a protocol separates its users; None: every subscription may get it.
            deadline: the time until it must have been handled, by ``time.monotonic()``.
            trace_context: of the request that it came with (``ReceivedRequest.trace_context``), which its attempts
                continue; "": that of the current span.

        Raises:
            TypeError: ``data`` cannot be written as JSON: it is nested more than 254 deep, or holds whole numbers of
                more than 64 bits or lone surrogates, which Python's own ``json`` reads.
        """
        moment = time.astimezone(UTC).isoformat() if time else None
        head = {"source": source, "id": id, "eventName": name, "eventTime": moment, "subject": subject}
        content = orjson.dumps(data) if body is None else body
        return cls({**head, "series": series}, content, deadline, None, scope, trace_context)

    @property
    def source(self) -> str:
        """The protocol of the event, such as ``croneye``."""
        source: str = self._data["source"]
        return source

    @property
    def subject(self) -> str | None:
        """The subject of the event, such as a job; None without one."""
        subject: str | None = self._data["subject"]
        return subject

    @property
    def series(self) -> str | None:
        """The series of the event, in whose order listeners get it; None without one."""
        series: str | None = self._data["series"]
        return series

    @property
    def scope(self) -> str | None:
        """The owner of the event, whose subscriptions alone get it; None for all, and once it has been published."""
        return self._scope

    @property
    def trace_context(self) -> str:
        """The trace that its attempts continue, as ``of`` got it; "" once it has been published."""
        return self._trace_context

    @property
    def data(self) -> Any:
        """The content of the event, decoded once; ``raw`` is a copy."""
        if self._content is _UNREAD:
            _set_content(self, self.raw)
        return self._content

    @property
    def raw(self) -> Any:
        """The content of the event, decoded anew at each access."""
        return orjson.loads(self._body)


_set_content = slot_setter(PublishedEvent, "_content")
_set_scope = slot_setter(PublishedEvent, "_scope")
_set_trace_context = slot_setter(PublishedEvent, "_trace_context")
