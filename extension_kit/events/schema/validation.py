"""Event validation with validators compiled from the published OpenAPI schemas: about a microsecond per event."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from jsonschema_rs import Draft202012Validator, ValidationError
from jsonschema_rs import ValidationErrorKind as Kind

from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.schema.modes import REFERENCE, event_components
from extension_kit.events.schema.modes import Mode as Mode
from extension_kit.events.times import parse_time

MAX_PROBLEMS = 100
"""Maximum number of problems reported for one body."""

_MAX_MEMBERS = 1000  # of lists and maps
_MAX_DEPTH = 6  # the schemas look into 5 levels
_NAMED_DEPTH = 2  # levels of an event and its parts, with named keys; deeper levels are maps
_MAX_KEY = 200

_TYPES = {
    "object": "an object",
    "array": "a list",
    "integer": "a whole number",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "null": "null",
}
_FORMATS = {"date-time": "a date-time such as 2021-09-01T12:00:00Z"}


class Problem(NamedTuple):
    """A problem of a body."""

    pointer: str
    """The place in the body, a JSON pointer (RFC 6901); for a missing value, its expected place."""

    message: str
    """The problem there. It never repeats the sent value, which may be secret."""


class EventValidator:
    """Validator of decoded event bodies.

    Args:
        mode: the strictness of the schemas, see ``extension_kit.events.schema.modes``.
    """

    is_valid: Callable[[Any], bool]
    """Return True if a body matches the schemas."""

    def __init__(self, mode: Mode) -> None:
        components = event_components(mode)
        document = {"$ref": f"{REFERENCE}EventRequestBody", "components": {"schemas": components}}
        self._validator = Draft202012Validator(document, validate_formats=True, mask="it")
        self._keys = {key for component in components.values() for key in component["properties"]}
        # Tolerant schemas have nothing that could raise, so that the compiled function can be called directly.
        self.is_valid = self._validator.is_valid if mode == "tolerant" else self._is_strictly_valid

    def _is_strictly_valid(self, data: Any) -> bool:
        try:
            return self._validator.is_valid(data)
        except ValueError:  # lists that hold something nested too deeply to look for repeated items
            return False

    def problems(self, data: Any) -> list[Problem]:
        """Return the problems of a body, at most ``MAX_PROBLEMS``; an empty list for a valid one."""
        found = {problem for error in self._validator.iter_errors(self._excerpt(data)) for problem in _explain(error)}
        if not found:
            found.update(self._first_problem(data))
        return sorted(found)[:MAX_PROBLEMS]

    def _first_problem(self, data: Any) -> Iterator[Problem]:
        """Yield the first problem of the whole body, however large it is."""
        try:
            self._validator.validate(data)
        except ValidationError as error:
            yield from _explain(error)
        except ValueError:
            yield Problem("", "is nested too deeply")

    def _excerpt(self, value: Any, members: int = _MAX_MEMBERS, depth: int = _MAX_DEPTH) -> Any:
        """Copy a part of a body that can be validated in a bounded time.

        The validator makes an object of every error before it returns the first: a list of a million wrong items would
        take many seconds. Keys named in the schemas are kept, so that none is reported as missing.
        """
        if not isinstance(value, dict | list):
            return value
        if not depth:
            return type(value)()
        if isinstance(value, list):
            kept = value[:members]
            share = max(1, members // max(1, len(kept)))
            return [self._excerpt(item, share, depth - 1) for item in kept]
        named = value.keys() & self._keys if depth > _MAX_DEPTH - _NAMED_DEPTH else set()
        others = list(islice((key for key in value if key not in named), members))
        share = max(1, members // max(1, len(others)))
        excerpt = {key: self._excerpt(value[key], share, depth - 1) for key in others}
        return excerpt | {key: self._excerpt(value[key], members, depth - 1) for key in named}

    @staticmethod
    def oddities(data: dict[str, Any]) -> list[str]:
        """Return warnings about unusual parts of a valid body, each a sentence for the log."""
        found = []
        if parse_time(data.get("eventTime")) is None:
            found.append("eventTime is missing or not a date-time")
        name = data["eventName"]
        if key := _ABOUT.get(name) or _about(name):
            execution = data.get(key)
            if execution is None:
                found.append(f"{key} is missing, although the event name refers to it")
            elif type(execution.get("executionId")) is str:
                found.append(f"executionId of {key} is a string instead of a number")
        return found


def _about(name: str) -> str | None:
    """Return the key of the object that an event name refers to, or None."""
    prefix, _, word = name.rpartition(".")
    if prefix != "experiment.execution":
        return None
    kind = word.partition("-")[0]
    return {"step": "experimentStepExecution", "target": "experimentStepTargetExecution"}.get(
        kind, "experimentExecution"
    )


_ABOUT = {name: _about(name) for name in STEADYBIT_EVENT_NAMES}


def _explain(error: ValidationError) -> Iterator[Problem]:
    """Yield the problems of an error, in words that do not repeat the sent value."""
    path = error.instance_path
    match error.kind:
        case Kind.Required(property=key):
            yield Problem(_pointer([*path, key]), "is required")
        case Kind.Type(types=types):
            yield Problem(
                _pointer(path), f"must be {_either([text for name, text in _TYPES.items() if name in types])}"
            )
        case Kind.Enum(options=options):
            yield Problem(_pointer(path), f"must be {_either([str(option) for option in options])}")
        case Kind.Format(format=name):
            yield Problem(_pointer(path), f"must be {_FORMATS.get(name, name)}")
        case Kind.MinLength(limit=1):
            yield Problem(_pointer(path), "must not be empty")
        case Kind.Pattern(pattern=pattern):
            yield Problem(_pointer(path), f"must match {pattern}")
        case Kind.UniqueItems():
            yield Problem(_pointer(path), "must not hold an item twice")
        case Kind.AnyOf(context=branches):
            yield from _explain_any_of(_pointer(path), branches)
        case kind:
            yield Problem(_pointer(path), f"does not satisfy {kind.name}")


def _explain_any_of(pointer: str, branches: Sequence[Sequence[ValidationError]]) -> Iterator[Problem]:
    """Yield the problems common to all alternatives, else one problem that lists those of each alternative."""
    explained = [sorted({problem for error in branch for problem in _explain(error)}) for branch in branches]
    if all(problems == explained[0] for problems in explained):
        yield from explained[0]
        return
    reasons = []
    for branch, problems in zip(branches, explained, strict=True):
        name = branch[0].schema_path[2]  # components/schemas/<name>/...
        texts = [f"{at.removeprefix(pointer).strip('/')} {message}" for at, message in problems]
        reasons.append(f"no {name} since {', '.join(texts)}")
    yield Problem(pointer, f"is {'; '.join(reasons)}")


def _pointer(path: Sequence[str | int]) -> str:
    parts = (str(part) for part in path)
    short = (part if len(part) <= _MAX_KEY else f"{part[:_MAX_KEY]}..." for part in parts)
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in short)


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
