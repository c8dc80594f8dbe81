"""Facts of Tapis's events, for their pages in the event log."""

import orjson

_MOST_TEXT = 200  # characters of the data, which the body has whole


def find_facts(body: bytes) -> list[tuple[str, object]]:
    """Return the facts of an event: its tenant, its user, its source, its series and the begin of its data.

    Args:
        body: of the published event.
    """
    event = orjson.loads(body)
    place = event["seriesSeqCount"]
    return [
        ("Tenant", event["tenant"]),
        ("User", event["user"]),
        ("Service", event["source"]),
        ("Series", event["seriesId"]),
        ("Place in the series", place if place > 0 else None),
        ("Ends its series", "yes" if event["endSeries"] or event["deleteSubscriptionsMatchingSubject"] else None),
        ("Ends subscriptions", "of its subject" if event["deleteSubscriptionsMatchingSubject"] else None),
        ("Data", (event["data"] or "")[:_MOST_TEXT]),
    ]
