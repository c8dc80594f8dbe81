"""A double of Grafana's annotations, with its rules and its quirks (HTTP API, Annotations; Grafana 10 and 11).

``python -m tests.support.grafana TOKEN FILE`` serves one that prints each change, for demonstrations.
"""

import json
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.support.receivers import Request
from tests.support.vendors import Vendor, json_reply

TOKEN = "glsa_a-token-of-tests_1a2b3c4d"

MOST_TAGS_BYTES = 500  # [annotations] tags_length
MOST_TAG_CHARACTERS = 100  # columns of the table tag
DEFAULT_LIMIT = 100

_ACTIONS = {"POST": "annotations:create", "PATCH": "annotations:write", "GET": "annotations:read"}


class Grafana(Vendor):
    """Annotations of one organization.

    Args:
        prefix: path that Grafana is served under.
        dashboards: UIDs of the dashboards there are.

    Attributes:
        token: the only one that is accepted.
        permissions: actions that the token may do.
        dashboards: UIDs of the dashboards there are.
        hides_missing: True refuses to change an annotation that there is not with 403, as Grafana from 9 on does where
            the token's permissions are not for all annotations: it cannot tell which of them are needed.
        annotations: by number, as a GET returns them.
    """

    def __init__(self, prefix: str = "", dashboards: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.token = TOKEN
        self.permissions = set(_ACTIONS.values())
        self.hides_missing = False
        self.annotations: dict[int, dict] = {}
        self._prefix = prefix
        self.dashboards = set(dashboards)
        self._numbers = 0

    @property
    def url(self) -> str:
        return super().url + self._prefix

    def found(self, *tags: str) -> list[dict]:
        """The annotations with all of some tags, by number."""
        with self.lock:
            return [dict(each) for _, each in sorted(self.annotations.items()) if set(tags) <= set(each["tags"])]

    def methods(self) -> list[str]:
        """The methods of the requests that changed something or looked for annotations with tags."""
        return [method for method, path in self.requests if method != "GET" or "tags=" in path]

    def handle(self, request: Request) -> bytes:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return json_reply(401, {"message": "Invalid API key", "messageId": "api-key.invalid", "statusCode": 401})
        split = urlsplit(request.path)
        base = f"{self._prefix}/api/annotations"
        if split.path != base and not split.path.startswith(base + "/"):
            return json_reply(404, {"message": "Not found"})
        action = _ACTIONS[request.method]
        if action not in self.permissions:
            return _denied(action)
        if request.method == "GET":
            return self._find(parse_qs(split.query))
        assert request.headers["content-type"] == "application/json"
        body = json.loads(request.body)
        if request.method == "POST":
            return self._add(body)
        return self._patch(split.path.rpartition("/")[2], body)

    def _add(self, body: dict) -> bytes:
        unknown = set(body) - {"dashboardUID", "panelId", "time", "timeEnd", "tags", "text"}
        assert not unknown, unknown
        if not body.get("text"):
            return json_reply(400, {"message": "Failed to save annotation", "error": "text field should not be empty"})
        tags = [_joined(*pair) for pair in _pairs(body.get("tags", []))]
        start = body.get("time") or int(time.time() * 1000)
        start, end = sorted((start, body.get("timeEnd") or start))
        if refusal := _refusal(tags):
            return refusal
        self._numbers += 1
        uid = body.get("dashboardUID")
        self.annotations[self._numbers] = {
            "id": self._numbers,
            "dashboardUID": uid if uid in self.dashboards else None,  # an unknown one is of the organization
            "panelId": body.get("panelId", 0),
            "time": start,
            "timeEnd": end,
            "text": body["text"],
            "tags": tags,
        }
        self.on_change(self.annotations[self._numbers])
        return json_reply(200, {"id": self._numbers, "message": "Annotation added"})

    def _patch(self, number: str, body: dict) -> bytes:
        unknown = set(body) - {"text", "tags", "time", "timeEnd"}
        assert not unknown, unknown
        if not number.isdecimal():
            return json_reply(400, {"message": "annotationId is invalid"})
        if (kept := self.annotations.get(int(number))) is None:
            return (
                _denied(_ACTIONS["PATCH"])
                if self.hides_missing
                else json_reply(404, {"message": "Annotation not found"})
            )
        changed = {**kept, **{name: value for name, value in body.items() if value}}
        changed["time"], changed["timeEnd"] = sorted((changed["time"], changed["timeEnd"]))
        if refusal := _refusal(changed["tags"]):
            return refusal
        self.annotations[int(number)] = changed
        self.on_change(changed)
        return json_reply(200, {"message": "Annotation patched"})

    def _find(self, query: dict[str, list[str]]) -> bytes:
        unknown = set(query) - {"from", "to", "limit", "tags", "dashboardUID"}
        assert not unknown, unknown
        uid = query.get("dashboardUID", [None])[0]
        if uid is not None and uid not in self.dashboards:
            return json_reply(400, {"message": "Invalid dashboard UID in annotation request"})
        earliest, latest = (int(query.get(name, ["0"])[0]) for name in ("from", "to"))
        wanted = _pairs(query.get("tags", []))
        found = [
            each
            for each in self.annotations.values()
            if uid in (None, each["dashboardUID"])
            and (not (earliest and latest) or (each["time"] <= latest and each["timeEnd"] >= earliest))
            and all(
                any(name == own[0] and value in ("", own[1]) for own in _pairs(each["tags"])) for name, value in wanted
            )
        ]
        found.sort(key=lambda each: (-each["timeEnd"], -each["time"]))
        return json_reply(200, found[: int(query.get("limit", ["0"])[0]) or DEFAULT_LIMIT])


def _denied(action: str) -> bytes:
    text = f"You'll need additional permissions to perform this action. Permissions needed: {action}"
    return json_reply(403, {"accessErrorId": "ACE1", "message": text, "title": "Access denied"})


def _pairs(tags: list[str]) -> list[tuple[str, str]]:
    """Names and values of tags, each pair once: a second colon and everything behind it is lost."""
    found = []
    for tag in tags:
        name, value, *_ = [*(part.strip(" ") for part in tag.split(":")), ""]
        if name and (name, value) not in found:
            found.append((name, value))
    return found


def _joined(name: str, value: str) -> str:
    return f"{name}:{value}" if value else name


def _refusal(tags: list[str]) -> bytes | None:
    """The answer to tags that cannot be stored."""
    if any(len(part) > MOST_TAG_CHARACTERS for pair in _pairs(tags) for part in pair):
        return json_reply(500, {"message": "Failed to save annotation"})  # the database refuses them
    length = sum(len(tag.encode()) + 3 for tag in tags) + 1
    if length > MOST_TAGS_BYTES:
        text = f"tags length ({length}) exceeds the maximum allowed ({MOST_TAGS_BYTES})"
        return json_reply(400, {"message": text, "messageId": "annotations.tag-limit-exceeded", "statusCode": 400})
    return None


def main() -> None:
    """Serve one with a token, and write its URL to a file."""
    grafana = Grafana()
    grafana.token = sys.argv[1]
    grafana.demonstrate("Grafana", Path(sys.argv[2]))


if __name__ == "__main__":
    main()
