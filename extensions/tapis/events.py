"""Events that services publish (Tapis Notifications, live docs: publishEvent)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from extension_kit.protocol import Host, PublishedEvent, Transaction

from .ending import end_by_subject
from .moments import iso, read_timestamp
from .series import NOT_COUNTED, end_series, series_key, take_count
from .settings import TapisSettings
from .targets import SOURCE, Targets


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


def publish(
    transaction: Transaction, host: Host, settings: TapisSettings, event: Mapping[str, Any], *, tenant: str, user: str
) -> None:
    """Record an event with its place in its series; end the series and its subscriptions, if the event says so.

    Everything happens in one transaction, so that a series has no gaps. The row of the series is locked first: the
    publishers of a series take turns, and their events are committed in the order of the counts.

    Args:
        transaction: everything is written in it.
        host: the kit.
        settings: the extension's.
        event: a loaded ``Event``.
        tenant: the tenant of the event.
        user: the user the service acts for.
    """
    now = datetime.now(UTC)
    connection = transaction.connection
    key = series_key(tenant, event["source"], event["subject"], event["series_id"])
    count = NOT_COUNTED if key is None else take_count(connection, key, now)
    uuid = str(uuid4())
    data = {
        "source": event["source"],
        "type": event["type"],
        "subject": event["subject"],
        "data": event["data"],
        "seriesId": event["series_id"],
        "seriesSeqCount": count,
        "timestamp": event["timestamp"],
        "deleteSubscriptionsMatchingSubject": event["delete_subscriptions_matching_subject"],
        "endSeries": event["end_series"],
        "tenant": tenant,
        "user": user,
        "received": iso(now),
        "uuid": uuid,
    }
    transaction.publish(
        TapisEvent.of(
            source=SOURCE,
            id=uuid,
            name=event["type"],
            time=read_timestamp(event["timestamp"]) or now,
            subject=event["subject"],
            series=f"{SOURCE}/{key}" if key else None,
            scope=tenant,
            data=data,
        )
    )
    ends_subscriptions = event["delete_subscriptions_matching_subject"]
    if key is not None and (event["end_series"] or ends_subscriptions):
        end_series(connection, key)
    if ends_subscriptions and event["subject"]:
        end_by_subject(Targets(connection, host, settings), connection, tenant, event["subject"])
