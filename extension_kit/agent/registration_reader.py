"""Registration documents: reads them as a real agent does, and selects the listeners of an event."""

from dataclasses import dataclass
from typing import Any, Self

import orjson

METHODS = ("POST", "PUT", "DELETE")
"""HTTP methods of listeners, in any case (Steadybit's EventKit specification, MutatingHttpMethod)."""


@dataclass(frozen=True)
class Listener:
    """An event listener: one entry of ``eventListeners``."""

    method: str
    path: str
    listen_to: tuple[str, ...]
    restrict_to: str

    @property
    def endpoint(self) -> str:
        """Method and path, such as ``POST /events/page``."""
        return f"{self.method} {self.path}"

    def wants(self, event_name: object, role: str) -> bool:
        """Return True if an agent in this role sends this listener an event of this name.

        Agents know exact names and ``*`` only (Steadybit's Event API, listenTo). ``any`` lets every agent call,
        ``leader`` the leader. Other words are not documented; they let the agents call that have this word as role.
        """
        return self.restrict_to in ("any", role) and ("*" in self.listen_to or event_name in self.listen_to)


@dataclass(frozen=True)
class RegistrationDocument:
    """A registration document with the listeners that an agent finds in it.

    ``problems`` are sentences about parts that a real agent would not understand. ``listeners`` holds only the entries
    that it can call.
    """

    listeners: tuple[Listener, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read the body of an answer to ``GET /``; never raises."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return cls(problems=(f"the registration document is not JSON ({error})",))
        if not isinstance(document, dict):
            return cls(problems=("the registration document is not a JSON object",))
        # Extensions without listeners leave the key out or send null (Steadybit's own do both).
        entries = document.get("eventListeners")
        if not isinstance(entries, list | None):
            return cls(problems=("eventListeners is not a list",))
        listeners = []
        problems = []
        for number, entry in enumerate(entries or ()):
            place = f"eventListeners[{number}]"
            if found := _problems(entry):
                problems += [place + problem for problem in found]
                continue
            names = tuple(entry["listenTo"])
            # Steadybit's Event API, restrictTo: "defaults to leader"
            listeners.append(
                Listener(entry["method"].upper(), entry["path"], names, entry.get("restrictTo") or "leader")
            )
            if patterns := [name for name in names if "*" in name and name != "*"]:
                problems.append(f"{place}.listenTo: agents know whole names and * alone, not {', '.join(patterns)}")
        return cls(tuple(listeners), tuple(problems))

    def select(self, event_name: object, role: str) -> list[Listener]:
        """Return the listeners to which an agent in this role sends an event of this name, each endpoint once."""
        found: dict[str, Listener] = {}
        for listener in self.listeners:
            if listener.wants(event_name, role):
                found.setdefault(listener.endpoint, listener)
        return list(found.values())


def _problems(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return [" is not an object"]
    found = []
    method, path, names = entry.get("method"), entry.get("path"), entry.get("listenTo")
    if not isinstance(method, str) or method.upper() not in METHODS:
        found.append(f".method must be {', '.join(METHODS[:-1])} or {METHODS[-1]}, not {method!r}")
    if not isinstance(path, str) or not path.startswith("/"):
        found.append(f".path must begin with /, not {path!r}")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        found.append(f".listenTo must be a list of event names, not {names!r}")
    if not isinstance(entry.get("restrictTo"), str | None):
        found.append(f".restrictTo must be a string, not {entry['restrictTo']!r}")
    return found
