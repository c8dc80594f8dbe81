"""API schemas: the bodies of the JSON API. Those of requests are enforced as they are published."""

from typing import Any

from extension_kit.event_log.filters import MAX_REFS, MAX_TEXT, STATUSES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer", "minimum": 0}
REF: Schema = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
SUBJECT: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
TIME: Schema = {"type": "string", "format": "date-time"}
FLAG: Schema = {"type": "boolean"}
STATUS: Schema = {"enum": list(STATUSES)}

_CONDITION: Schema = {"type": "string", "maxLength": MAX_TEXT}
_MOMENT = "A time of ISO 8601, such as `2026-11-21T10:30:00Z`, or an age: `30m`, `12h`, `7d`"
CONDITIONS: dict[str, Schema] = {
    "status": {**STATUS, "description": "Status of the delivery"},
    "listener": {**_CONDITION, "description": "Beginning of the listener's key"},
    "error": {**_CONDITION, "description": "Text in the error of the last attempt; case is ignored"},
    "event": {**_CONDITION, "description": "Name of the event, or a pattern such as `experiment.*`"},
    "subject": {**_CONDITION, "description": "Subject of the event"},
    "source": {**_CONDITION, "description": "Source of the event, such as `steadybit`"},
    "event_id": {**_CONDITION, "description": "Id of the event"},
    "from": {**_CONDITION, "description": f"Newer than this. {_MOMENT}"},
    "to": {**_CONDITION, "description": f"Older than this. {_MOMENT}"},
}
"""Conditions of filters, by name."""


def exactly(**properties: Schema) -> Schema:
    """Return the schema of an object with these keys and no others."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def or_null(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


ACTION_REQUEST: Schema = {
    "type": "object",
    "properties": {
        "refs": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_REFS,
            "items": {**REF, "maximum": 10**18 - 1},
            "description": "Numbers of deliveries",
        },
        "filter": {
            "type": "object",
            "properties": CONDITIONS,
            "additionalProperties": False,
            "description": "Conditions that the deliveries meet, all of them. Without a status, dead letters; for "
            "`retry-now`, waiting deliveries",
        },
        "expected": {**NUMBER, "maximum": 2**63 - 1, "description": "Number of deliveries that are to match"},
    },
    "additionalProperties": False,
    "oneOf": [{"required": ["refs"]}, {"required": ["filter", "expected"]}],
}

RECEIVER_REQUEST: Schema = exactly(
    listener={
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_TEXT,
        "description": "Key of a durable listener, or `subscription:` and its number",
    }
)

_COUNT = exactly(number=NUMBER, is_exact={**FLAG, "description": "False: there are as many at least"})
_EVENT = {
    "ref": REF,
    "source": TEXT,
    "event_id": TEXT,
    "event": {**TEXT, "description": "Name"},
    "subject": or_null(TEXT),
    "time": or_null(TIME),
    "received_at": TIME,
    "size": {**NUMBER, "description": "Bytes of the body"},
}
_DELIVERY = {
    "ref": REF,
    "event_ref": REF,
    "source": TEXT,
    "event": {**TEXT, "description": "Name of the event"},
    "event_id": TEXT,
    "subject": or_null(TEXT),
    "listener": TEXT,
    "series": or_null(TEXT),
    "place_in_series": or_null(REF),
    "status": STATUS,
    "attempts": NUMBER,
    "behind": {**or_null(REF), "description": "Number of the delivery that has to end before"},
    "attempted_since": {**or_null(TIME), "description": "Time from which on it is being attempted"},
    "created_at": TIME,
    "due_at": {**or_null(TIME), "description": "Time of the next attempt"},
    "ended_at": or_null(TIME),
    "error": {**or_null(TEXT), "description": "Error of the last attempt"},
}
_NEXT = {
    "next": {**or_null(TEXT), "description": "Parameter `before` of the next page; null: there is none"},
}
_SEARCHED = {
    **_NEXT,
    "searched_to": {
        **or_null(TIME),
        "description": "Time up to which the search has come, if it ended before the page was full; `next` goes on",
    },
}


def _list_of(name: str) -> Schema:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


def _each(**properties: Schema) -> Schema:
    return {"type": "array", "items": exactly(**properties)}


_SIMPLE_CELLS: list[Schema] = [TEXT, {"type": "number"}, {"type": "null"}]
_LINK = exactly(text=TEXT, path={**TEXT, "description": "Path of a page"})
_BARS = _each(begin=TIME, end={**or_null(TIME), "description": "Null: it goes on"}, state=TEXT, label=TEXT)

SCHEMAS: dict[str, Schema] = {
    "Overview": exactly(
        waiting=_COUNT,
        dead=_COUNT,
        waiting_by_listener=_each(
            listener=TEXT,
            number=NUMBER,
            since={**TIME, "description": "Creation of the oldest delivery"},
            is_exact=FLAG,
        ),
        dead_by_listener_and_error=_each(
            listener=TEXT,
            error={**TEXT, "description": "First line of the error"},
            contains={**TEXT, "description": "Its beginning up to the first hidden secret, for the filter `error`"},
            number=NUMBER,
            newest={**TIME, "description": "Time at which the last one was given up"},
            is_exact=FLAG,
        ),
        rates=_each(
            begin={**TIME, "description": "Beginning of an interval; the last one goes on"},
            delivered={**NUMBER, "description": "Attempts that succeeded"},
            failed={**NUMBER, "description": "Attempts that did not"},
            is_complete={**FLAG, "description": "False: there may have been more"},
        ),
        unfiled={
            **exactly(events=NUMBER, since=or_null(TIME)),
            "description": "Events whose deliveries no worker has made yet, and the time of the oldest",
        },
    ),
    "Event": exactly(**_EVENT, deliveries=exactly(**dict.fromkeys(STATUSES, NUMBER))),
    "WholeEvent": exactly(
        **_EVENT,
        body={"description": "Body of the event, with secrets hidden; a text if it is cut, or no JSON"},
        body_is_cut=FLAG,
        deliveries=_list_of("Delivery"),
    ),
    "Events": exactly(events=_list_of("Event"), **_SEARCHED, count=_COUNT),
    "Run": exactly(
        subject={**TEXT, "description": "`<experiment key>/<execution id>`"},
        state={**or_null(TEXT), "description": "Such as `running` or `failed`"},
        first_at=or_null(TIME),
        last_at=TIME,
        events={**NUMBER, "description": "Number of its events"},
        counted={**NUMBER, "description": "Number of its newest events that the other values are taken from"},
        deliveries=exactly(**dict.fromkeys(STATUSES, NUMBER)),
    ),
    "Runs": exactly(runs=_list_of("Run"), **_SEARCHED),
    "WholeRun": exactly(subject=TEXT, events=_list_of("Event"), **_SEARCHED),
    "Delivery": exactly(**_DELIVERY),
    "WholeDelivery": exactly(**_DELIVERY, history=_list_of("Attempt")),
    "Deliveries": exactly(deliveries=_list_of("Delivery"), **_SEARCHED, count=_COUNT),
    "Attempt": exactly(
        number=REF,
        result={**or_null({"enum": ["delivered", "failed", "refused", "not ready", "lost", "handed back"]})},
        status={**or_null({"type": "integer"}), "description": "HTTP status of the answer"},
        error=or_null(TEXT),
        excerpt={**or_null(TEXT), "description": "Beginning of the answer"},
        started_at=TIME,
        ended_at=or_null(TIME),
    ),
    "Receiver": exactly(
        listener={**TEXT, "description": "Key"},
        kind=TEXT,
        label=TEXT,
        events={"type": "array", "items": TEXT, "description": "Patterns of the names of its events"},
        is_enabled=FLAG,
        may_be_paused=FLAG,
        paused_since=or_null(TIME),
        paused_by=or_null(TEXT),
        circuit_open_until={**or_null(TIME), "description": "Time of the next probe of a receiver that is down"},
        waiting=_COUNT,
        dead=_COUNT,
    ),
    "Receivers": exactly(
        receivers=_list_of("Receiver"),
        next={**or_null(REF), "description": "Parameter `after` of the next page; null: there is none"},
    ),
    "Action": exactly(
        ref=REF,
        kind={"enum": ["replay", "discard", "retry now", "pause", "resume"]},
        made_by=TEXT,
        filter={**TEXT, "description": "Filter of the deliveries as the query of an address, or key of the receiver"},
        expected=NUMBER,
        changed={**NUMBER, "description": "Deliveries changed so far"},
        skipped={**NUMBER, "description": "Deliveries left alone because they had changed meanwhile"},
        started_at=TIME,
        seen_at=TIME,
        ended_at=or_null(TIME),
        error=or_null(TEXT),
        state={"enum": ["running", "done", "failed", "cancelled", "interrupted"]},
    ),
    "Actions": exactly(actions=_list_of("Action"), **_NEXT),
    "Worker": exactly(
        key=TEXT,
        host=TEXT,
        pid=NUMBER,
        started_at=TIME,
        seen_at={**TIME, "description": "Last sign of life"},
        threads=NUMBER,
        busy={**NUMBER, "description": "Threads in use"},
        open_circuits={"type": "array", "items": exactly(receiver=TEXT, until=TIME)},
        is_silent={**FLAG, "description": "Signs of life are missing"},
    ),
    "Workers": exactly(workers=_list_of("Worker")),
    "ProtocolTable": exactly(
        columns={"type": "array", "items": TEXT, "description": "Names of the columns"},
        rows={
            "type": "array",
            "items": {"type": "array", "items": {"anyOf": [*_SIMPLE_CELLS, _LINK, _BARS]}},
            "description": "Cells of each row: texts and states, numbers, times, links to pages, bars of a time line",
        },
        next=_NEXT["next"],
        period={
            **or_null({"type": "array", "items": TIME, "minItems": 2, "maxItems": 2}),
            "description": "Begin and end of the time over which bars are drawn",
        },
        note={**TEXT, "description": "A sentence about the table; may be empty"},
    ),
    "ActionRequest": ACTION_REQUEST,
    "ReceiverRequest": RECEIVER_REQUEST,
    "ReceiverState": exactly(listener=TEXT, is_paused=FLAG, has_changed=FLAG),
}
"""Components of the document, by name."""
