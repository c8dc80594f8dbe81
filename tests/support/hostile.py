"""What senders might write: Hypothesis strategies for bodies, headers and requests that are wrong, or almost right."""

import json
from copy import deepcopy

from hypothesis import strategies as st

from extension_kit.agent.factory import EventFactory
from extension_kit.events.schema.modes import REFERENCE, event_components
from tests.support.paths import DATA

PATH = "/events/everything"
MAX_BODY = 100_000
EVENTS = [
    *EventFactory(seed=7).events(30),
    *(json.loads(path.read_bytes()) for path in sorted((DATA / "steadybit").glob("e*.json"))),
]
COMPONENTS = event_components("tolerant")

# JSON values

ODD_NUMBERS = [-1, 0.5, -0.0, 5.0, 1e30, 1e308, 2**53 + 1, 2**63, 2**64]
ODD_TEXTS = ["", " ", "\x00", "\x1b[31m\n", "\u2028", "\ufeff", "\U0010ffff", "İ", "null", "x" * 2000]
ODD_IDS = ["042", "-1", "1e3", "٣", "1" * 18, "1" * 5000, "7\n"]
ODD_TIMES = [
    "0001-01-01T00:00:00Z",
    "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "9999-12-31T23:59:59-23:59",
    "2021-02-30T00:00:00Z",
    "2021-09-01t12:00:60z",
    "2021-09-01T12:00:00+99:99",
    "2021-W01-1",
    "20210901",
    "12:00",
    "2021-09-01T12:00:00.586222005123456789Z",
    "2021-09-01 12:00:00",
    "1693569600",
    "٢٠٢١-09-01T12:00:00Z",
]
WORDS = ["user", "USER", "access_token", "batch_job", "robot", "COMPLETED", "experiment.execution.step-failed", "*"]
KEYS = sorted({key for component in COMPONENTS.values() for key in component["properties"]} | {"", "x/~y", "\x00"})
BEYOND_JSON = [float("nan"), float("inf"), 10**400, "\ud800"]

texts = st.text(max_size=20) | st.sampled_from(ODD_TEXTS + ODD_IDS + ODD_TIMES + WORDS)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(ODD_NUMBERS)
keys = st.sampled_from(KEYS) | st.text(max_size=5)


def nested(levels):
    value = None
    for _ in range(levels):
        value = {"a": [value]}
    return value


def values(scalars):
    return st.recursive(
        st.none() | st.booleans() | scalars | st.integers(1, 150).map(nested),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=6,
    )


json_values = values(numbers | texts)
anything = values(numbers | texts | st.sampled_from(BEYOND_JSON))

# Bodies that tolerant validation accepts


def accepted(schema):
    """Make what a schema accepts."""
    if reference := schema.get("$ref"):
        return accepted(COMPONENTS[reference.removeprefix(REFERENCE)])
    if "anyOf" in schema:  # the principal, of which there may be another kind
        known = [accepted(kind) for kind in schema["anyOf"][:-1]]
        named = dict.fromkeys(["id", "name", "username", "email", "tokenType"], json_values)
        kinds = st.sampled_from(["user", "access_token", "BATCH_JOB"]) | json_values
        return st.one_of(*known, st.fixed_dictionaries({"principalType": kinds}, optional=named))
    if "type" not in schema:
        return json_values
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of([_ACCEPTED[name](schema) for name in types])


def _accepted_objects(schema):
    properties, others = schema.get("properties", {}), schema["additionalProperties"]
    optional = {key: accepted(inner) for key, inner in properties.items()}
    required = {key: optional.pop(key) for key in schema.get("required", ())}
    further = st.dictionaries(
        keys.filter(lambda key: key not in properties), json_values if others is True else accepted(others), max_size=3
    )
    return st.builds(lambda body, more: {**body, **more}, st.fixed_dictionaries(required, optional=optional), further)


def _accepted_strings(schema):
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    return texts.filter(lambda text: len(text) >= schema.get("minLength", 0))


_ACCEPTED = {
    "object": _accepted_objects,
    "array": lambda schema: st.lists(accepted(schema["items"]), max_size=4),
    "string": _accepted_strings,
    "integer": lambda schema: numbers.filter(lambda number: number == int(number)),
    "null": lambda schema: st.none(),
}

accepted_events = accepted(COMPONENTS["EventRequestBody"])

# Bodies of every kind


def containers(value):
    """Every list and object in a JSON value that holds something."""
    if isinstance(value, dict | list) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


def put(holder, key, value):
    if isinstance(holder, list):
        holder.append(value)
    else:
        holder[key] = value


@st.composite
def mutated_events(draw):
    """Events of agents in which some things are not what they should be."""
    body = {"event": deepcopy(draw(st.sampled_from(EVENTS)))}
    for _ in range(draw(st.integers(1, 4))):
        holders = list(containers(body))
        holder = draw(st.sampled_from(holders))
        place = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
        match draw(st.sampled_from(["drop", "replace", "copy", "add"])):
            case "drop" if holder is not body:
                del holder[place]
            case "replace":
                holder[place] = draw(anything)
            case "copy":
                put(draw(st.sampled_from(holders)), draw(keys), deepcopy(holder[place]))
            case _:
                put(holder, draw(keys), draw(anything))
    return body["event"]


@st.composite
def documents(draw):
    """JSON in the forms that it may have, and in some that it may not have."""
    text = json.dumps(
        draw(mutated_events() | mutated_events() | anything),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, None, 1])),
    )
    if draw(st.booleans()):
        text = text.replace("{", '{"id": "first", ', 1)  # a key twice
    return text.encode("utf-8", "surrogatepass") + b" " * draw(st.sampled_from([0, 0, 0, 0, MAX_BODY]))


@st.composite
def mutated_bytes(draw, originals):
    """Bytes of which some are lost, doubled, or others."""
    data = draw(originals)
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 30))
        likely = [b"", data[start:end] * 2, b"\x00", b'"', b"{", b"]", b"\\", b"\xff"]
        data = data[:start] + draw(st.sampled_from(likely) | st.binary()) + data[end:]
    return data


bodies = st.binary(max_size=50) | mutated_bytes(documents()) | documents()

# Headers: visible characters, blanks and bytes beyond ASCII. A server's parser refuses the others.

field_values = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)


def header(*likely):
    parts = st.sampled_from([*likely, *(value.upper() for value in likely), ",", ";", "=", " ", '"', "x" * 300])
    return field_values | st.lists(parts, max_size=4).map("".join) | st.sampled_from(likely)


seconds = st.floats(1e-9, 1e9).map(repr) | header("1e-9", "5", "0x5", "1_0", "inf", "nan", "-1", "1e999", "9" * 200)
HEADERS = {
    "Request-Timeout": seconds,
    "X-Request-Timeout": seconds,
    "Content-Type": header("application/json", "text/plain", "charset=utf-16", "multipart/form-data", "boundary"),
    "Content-Encoding": header("gzip", "br"),
    "Accept-Encoding": header("gzip", "br", "*", ";q=0", ";q=1.5", ";q=", "identity"),
    "Accept": header("text/html", "*/*", ";q=0"),
    "If-None-Match": header('"abc"', "W/", "*", "\\"),
    "Request-Id": header("abc-123", "x" * 128),
    "Authorization": header("Basic", "Bearer", "YWdlbnQ6eA==", "===", "Digest username="),
    "Cookie": header("a=b", "session="),
    "Range": header("bytes=0-1", "bytes=5-1", "bytes=-"),
    "Host": header("localhost", "[::1", ":99999", "a/b", "@"),
    "X-Forwarded-Host": header("a", "/"),
}
headers = st.lists(st.sampled_from(sorted(HEADERS)), unique=True, max_size=5).flatmap(
    lambda names: st.fixed_dictionaries({name: HEADERS[name] for name in names})
)

# Requests on the wire

BODY = json.dumps(EVENTS[2]).encode()
METHODS = b"GET HEAD PUT OPTIONS TRACE CONNECT PRI BREW post P@ST".split()
TARGETS = [
    *b"/ * // /%00 /% /%zz /%ff%fe /.. /\x80 /\x7f ? # : /nonsense /openapi.json /health/liveness".split(),
    *b"//events/everything /events//everything /events/everything/ /events%2Feverything /events/%65verything".split(),
    *b"/events/everything?a=% /events/everything#a /events/everything;a /x/../events/everything".split(),
    *b"http://a http://a/ http://a/events/everything http://[::1/ http://a:99999/ https:// a:80".split(),
    b"",
    b"/a\tb",
    b"/" + b"a" * 5000,
]
VERSIONS = [b"", *b"HTTP/1.0 HTTP/2.0 HTTP/0.9 HTTP/9.9 HTTP/1.12 http/1.1 HTTP/".split()]
SIZES = [b"", b"-1", b"+5", b"0x5", b"5, 5", b"5 5", b"1_0", b"1e3", b"9" * 30, b"f" * 16, b"\xb2", b"00000000005"]
LINES = [
    *(b"Content-Length: " + size for size in SIZES),
    *(b"Transfer-Encoding: " + coding for coding in (b"chunked", b"gzip, chunked", b"identity", b"chunked, chunked")),
    *(b"Connection: " + option for option in (b"close, keep-alive", b"TE", b"upgrade", b"Host")),
    *(b"Upgrade: " + protocol + b"\r\nConnection: upgrade" for protocol in (b"h2c", b"websocket", b"")),
    b"Expect: 100-continue",
    b"Expect: more",
    b"Host: b",
    b"Host:",
    b"Trailer: Host",
    b"A: b\r\n c",
    b" A: b",
    b"A : b",
    b": b",
    b"A",
    b"A:",
    b"A: \x00",
    b"A: b\rc",
    b"A\xff: b",
    b"A: " + b"b" * 9000,
]


def usually(usual, others):
    return st.one_of(st.just(usual), st.just(usual), st.just(usual), st.sampled_from(others))


@st.composite
def requests(draw):
    """HTTP requests that are almost right."""
    parts = [(b"POST", METHODS), (PATH.encode(), TARGETS), (b"HTTP/1.1", VERSIONS)]
    first = b" ".join(draw(usually(*part)) for part in parts)
    if draw(st.booleans()):
        frame, body = b"Content-Length: %d" % len(BODY), BODY
    else:
        frame, body = b"Transfer-Encoding: chunked", draw(chunks())
    lines = draw(st.permutations([frame, b"Host: a", *draw(st.lists(st.sampled_from(LINES), max_size=2))]))
    return draw(usually(b"\r\n", [b"\n", b"\r", b"\r\n "])).join([first, *lines, b"", body])


@st.composite
def chunks(draw):
    extension = draw(usually(b"", [b";a=b", b";", b" "]))
    trailer = draw(usually(b"", [b"A: b\r\n", b"A\r\n", b"\r\n"]))
    first, second = (BODY[:300], BODY[300:])
    sizes = (draw(usually(b"%x" % len(piece), SIZES)) + extension for piece in (first, second, b""))
    return b"%s\r\n%s\r\n%s\r\n%s\r\n%s\r\n%s\r\n" % (next(sizes), first, next(sizes), second, next(sizes), trailer)
