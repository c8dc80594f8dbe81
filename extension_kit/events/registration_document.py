"""Registration document: the answer to ``GET /``, its ETag, and warnings about names (Steadybit's Event API)."""

import difflib
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import orjson

from extension_kit.errors import RegistrationError
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.patterns import PatternIndex
from extension_kit.events.registry import Registry, Route
from extension_kit.events.unfinished import refuse_unfinished


def list_event_listeners(registry: Registry) -> list[dict[str, Any]]:
    """Return the list ``eventListeners``, sorted by path, so that it is the same in every process."""
    other_protocols = _other_protocols(registry)
    return [
        {"method": "POST", "path": path, "listenTo": names, "restrictTo": route.restrict_to}
        for path, route in sorted(registry.routes.items())
        if (
            names := list(registry.subscribed_names())
            if route.for_subscriptions
            else _listen_to(route, other_protocols)
        )
    ]


def build_document(registry: Registry) -> dict[str, Any]:
    """Return the registration document, the answer to ``GET /`` (Steadybit's Event API, Event Listeners List).

    Raises:
        RegistrationError: two providers return the same key, or one returns ``eventListeners`` or not a mapping.
        TypeError: the function of a provider returned unfinished work, such as a coroutine.
    """
    document: dict[str, Any] = {"eventListeners": list_event_listeners(registry)}
    for provider in registry.providers:
        provided = provider() if callable(provider) else provider
        refuse_unfinished(provided, "the function")
        if not isinstance(provided, Mapping):
            raise RegistrationError(f"extend_index(...): the function returned {provided!r:.80}, not a mapping")
        for key, value in provided.items():
            if key in document:
                raise RegistrationError(
                    f"{key} is given twice for the registration document: by two extend_index(...), or beside "
                    "the event listeners, which the kit lists itself"
                )
            document[key] = value
    return document


def serialize(registry: Registry) -> tuple[bytes, str]:
    """Return the document as JSON and its strong ETag, which is equal in every process with the same listeners."""
    body = orjson.dumps(build_document(registry), option=orjson.OPT_APPEND_NEWLINE)
    return body, f'"{sha256(body).hexdigest()[:32]}"'


def list_warnings(registry: Registry) -> list[str]:
    """Return warnings: former names in the extension's file, and events that no agent is known to send.

    The latter are most often typos, which would never match.
    """
    known = dict.fromkeys(STEADYBIT_EVENT_NAMES)
    other_protocols = _other_protocols(registry)
    found = [*registry.renamed]
    for listener in registry.listeners:
        for name in listener.patterns:
            if name in known or ("*" in name and _covers_any(name, known)):
                continue
            near = difflib.get_close_matches(name, known, n=1)
            if not near and (other_protocols.match(name) or ("*" in name and registry.other_protocols)):
                continue
            hint = f", did you mean {near[0]}?" if near else ""
            found.append(f"{listener.name} listens to {name}, which no agent is known to send{hint}")
    return found


def _listen_to(route: Route, other_protocols: PatternIndex[str]) -> list[str]:
    """Return ``listenTo`` for agents, which know exact names and ``*`` only: patterns become the names they match."""
    names = {name for listener in route.listeners for name in listener.patterns}
    if "*" in names:
        return ["*"]
    known = [name for name in STEADYBIT_EVENT_NAMES if route.index.match(name)]
    others = (name for name in names if "*" not in name and name not in known)
    return known + sorted(name for name in others if not other_protocols.match(name))


def _other_protocols(registry: Registry) -> PatternIndex[str]:
    """Return an index of the event names of other protocols, which agents do not send."""
    index: PatternIndex[str] = PatternIndex()
    for pattern in registry.other_protocols:
        index.add([pattern], pattern)
    return index


def _covers_any(pattern: str, names: Iterable[str]) -> bool:
    index: PatternIndex[str] = PatternIndex()
    index.add([pattern], pattern)
    return any(index.match(name) for name in names)
