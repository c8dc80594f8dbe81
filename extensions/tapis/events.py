"""Events that services publish (Tapis Notifications, live docs: publishEvent)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

from extension_kit.protocol import Kit, PublishedEvent, Transaction

from .delivery_targets import SOURCE, Targets
from .expiry import end_by_subject, lock_by_subject
from .series import Member, Names, take_counts
from .settings import TapisSettings
from .times import iso, read_timestamp


class TapisEvent(PublishedEvent):
    """An event as decorated functions see it. ``data`` is the ``event`` of the notification."""

    __slots__ = ()

    @property
    def service_source(self) -> str:
        """The event's source, as the service named it."""
        return str(self.data["source"])

    @property
    def text(self) -> str | None:
        """The event's data, a text that is often JSON."""
        text: str | None = self.data["data"]
        return text

    @property
    def tenant_id(self) -> str:
        """The tenant that the event belongs to."""
        return str(self.data["tenant"])

    @property
    def user(self) -> str:
        """The user the service acted for."""
        return str(self.data["user"])

    @property
    def series_seq_count(self) -> int:
        """The event's place in its series, from 1; -1 without one."""
        return int(self.data["seriesSeqCount"])


class SentEvent(NamedTuple):
    """An event as a service sent it.

    Attributes:
        content: a loaded ``Event``.
        tenant: the tenant of the event.
        user: the user the service acts for.
        trace_context: of its request.
    """

    content: Mapping[str, Any]
    tenant: str
    user: str
    trace_context: str = ""

    @property
    def series_names(self) -> Names:
        """The names of its series."""
        content = self.content
        return Names(self.tenant, content["source"], content["subject"], content["series_id"])

    @property
    def ends_series(self) -> bool:
        """True if its series ends with it."""
        return bool(self.content["end_series"] or self.content["delete_subscriptions_matching_subject"])

    @property
    def ended_subject(self) -> str | None:
        """The subject of the subscriptions that end with it; None if none end."""
        return self.content["subject"] or None if self.content["delete_subscriptions_matching_subject"] else None


def publish(
    transaction: Transaction, kit: Kit, settings: TapisSettings, event: Mapping[str, Any], *, tenant: str, user: str
) -> None:
    """Record one event, as ``publish_all`` does.

    Args:
        transaction: everything is written in it.
        kit: the kit.
        settings: the extension's.
        event: a loaded ``Event``.
        tenant: the tenant of the event.
        user: the user the service acts for.
    """
    publish_all(transaction, kit, settings, [SentEvent(event, tenant, user)])


def publish_all(transaction: Transaction, kit: Kit, settings: TapisSettings, sent: Sequence[SentEvent]) -> None:
    """Record events with their places in their series; end series and subscriptions, if the events say so.

    Everything happens in one transaction, so that a series has no gaps. The rows of all series are locked first: the
    publishers of a series take turns, and their events are committed in the order of the counts.

    Args:
        transaction: everything is written in it, and no more events are published in it.
        kit: the kit.
        settings: the extension's.
        sent: the events, in the order of their arrival.
    """
    now = datetime.now(UTC)
    connection = transaction.connection
    named = [(each.series_names, each.ends_series) for each in sent]
    members = [Member(names.key, names, ends) for names, ends in named]
    places = take_counts(connection, members, now)
    ended = {(each.tenant, each.ended_subject) for each in sent if each.ended_subject}
    if len(ended) > 1:
        lock_by_subject(connection, ended)
    received = iso(now)
    events: list[TapisEvent] = []
    for each, member, place in zip(sent, members, places, strict=True):
        events.append(_event(each, member.key, place, read_timestamp(each.content["timestamp"]) or now, received))
        if subject := each.ended_subject:
            transaction.publish(*events)  # those after it are not for the subscriptions that it ends
            events = []
            end_by_subject(Targets(connection, kit, settings), connection, each.tenant, subject)
    transaction.publish(*events)


def _event(sent: SentEvent, key: str | None, place: int, time: datetime, received: str) -> TapisEvent:
    uuid = str(uuid4())
    content = sent.content
    data = {
        "source": content["source"],
        "type": content["type"],
        "subject": content["subject"],
        "data": content["data"],
        "seriesId": content["series_id"],
        "seriesSeqCount": place,
        "timestamp": content["timestamp"],
        "deleteSubscriptionsMatchingSubject": content["delete_subscriptions_matching_subject"],
        "endSeries": content["end_series"],
        "tenant": sent.tenant,
        "user": sent.user,
        "received": received,
        "uuid": uuid,
    }
    return TapisEvent.of(
        source=SOURCE,
        id=uuid,
        name=content["type"],
        time=time,
        subject=content["subject"],
        series=f"{SOURCE}/{key}" if key else None,
        scope=sent.tenant,
        data=data,
        trace_context=sent.trace_context,
    )
