"""How long it takes to make a checked, typed event of a body: the kit against other libraries, in one process.

Runs in the peers' environment, which has the kit, too.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from marshmallow import ValidationError

from benchmarks import events
from benchmarks.environment import peers_python
from benchmarks.load import ID
from benchmarks.report import Report, Settings, microseconds, times
from benchmarks.servers import ROOT
from benchmarks.timing import Case, interleaved, ratio

_KIT = "extension-kit: decode, validate, event"
_MARSHMALLOW = "json + marshmallow load"
_GOALS_US = {"0.8 KB": 6.0, "10 KB": 35.0}
_SIZES = {"0.8 KB": events.small, "10 KB": lambda: events.of_size(10), "95 KB": lambda: events.of_size(95)}


@dataclass(frozen=True)
class Library:
    """A way to make an event of a body; it raises, or returns None, for a bad one."""

    name: str
    read: Callable[[bytes], object]
    reads_ids: bool = False  # needs a fresh id each time


def run(settings: Settings) -> list[Report]:
    """Measure all libraries with bodies of three sizes."""
    with settings.progress("validation", 2) as begin:
        begin("installing the peers")
        python = peers_python()
        begin("0.8, 10 and 95 KB")
        rounds = 3 if settings.quick else 21
        answer = subprocess.run(
            [python, "-m", "benchmarks.validation", str(rounds)],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    found: dict[str, dict[str, list[float]]] = json.loads(answer.stdout)
    names = list(next(iter(found.values())))
    rows = [
        [
            name,
            *(cell for size in found for cell in (microseconds(median(found[size][name])), _times(found[size], name))),
        ]
        for name in names
    ]
    goals = ", ".join(f"{limit:g} us at {size}" for size, limit in _GOALS_US.items())
    return [
        Report(
            "Decoding, checking and typing a body: us for each event, median of interleaved rounds",
            ["", *(cell for size in found for cell in (size, "/ kit"))],
            rows,
            [f"goals: {goals}; {_MARSHMALLOW} takes >= 12 x"],
            [{"size": size, "us": each} for size, each in found.items()],
        )
    ]


def _times(found: dict[str, list[float]], name: str) -> str:
    return "" if name == _KIT else times(ratio(found[name], found[_KIT]))


def _libraries() -> list[Library]:
    import jsonschema
    import msgspec
    import orjson
    from pydantic import TypeAdapter

    from benchmarks.apps import msgspec_structs, pydantic_models
    from extension_kit.events.event import Event
    from extension_kit.events.schema.bodies import EventRequestBody
    from extension_kit.events.schema.modes import REFERENCE, event_components
    from extension_kit.events.schema.validation import EventValidator

    tolerant, strict = EventValidator("tolerant").is_valid, EventValidator("strict").is_valid
    schema = EventRequestBody()
    document = {"$ref": f"{REFERENCE}EventRequestBody", "components": {"schemas": event_components("strict")}}
    python_validator = jsonschema.Draft202012Validator(document)
    decoder = msgspec.json.Decoder(msgspec_structs.Event)

    def kit(is_valid: Callable[[Any], bool]) -> Callable[[bytes], Event | None]:
        def read(body: bytes) -> Event | None:
            data = orjson.loads(body)
            return Event(data, body) if is_valid(data) else None

        return read

    def used(body: bytes) -> object:
        event = kit(tolerant)(body)
        return event and _look_into(event)

    return [
        Library(_KIT, kit(tolerant)),
        Library("the same, and a function that reads 12 attributes", used),
        Library("the same in strict mode", kit(strict)),
        Library("extension-kit: whole receive path, without HTTP and threads", _receive_path(), reads_ids=True),
        Library(_MARSHMALLOW, lambda body: schema.load(json.loads(body))),
        Library("pydantic, model_validate_json", TypeAdapter(pydantic_models.Event).validate_json),
        Library("json + jsonschema (python), dict", lambda body: _checked(python_validator, json.loads(body))),
        Library("msgspec, decode into structs", decoder.decode),
    ]


def _look_into(event: Any) -> list[object]:
    run = event.experiment_execution or event.experiment_step_target_execution
    return [
        event.name,
        event.id,
        event.time,
        event.tenant.key,
        event.team.name,
        event.environment.name,
        event.principal.display_name,
        run.experiment_key,
        run.execution_id,
        run.state,
        run.started_time,
        run.duration,
    ]


def _checked(validator: Any, data: object) -> object:
    return data if validator.is_valid(data) else None


def _receive_path() -> Callable[[bytes], object]:
    from extension_kit.events.answers import Answer
    from extension_kit.events.pending import ImmediateRun
    from extension_kit.events.receive import Receiver
    from extension_kit.events.registry import Listener, Registry

    registry = Registry()
    listener = Listener.of(
        lambda event: None,
        ("experiment.execution.*",),
        extension="benchmark",
        path="/events",
        restrict_to="leader",
        immediate=True,
    )
    registry.add(listener)
    receiver = Receiver(registry, "tolerant", duplicate_window=3600, duplicate_limit=10_000)
    route = receiver.routes["/events"]

    def run_here(run: ImmediateRun) -> bool:
        run()
        return True

    def read(body: bytes) -> object:
        outcome = receiver.receive(route, body, "application/json", None, run_here)
        is_refusal = isinstance(outcome, Answer) and outcome.status != 200
        return None if is_refusal else outcome

    return read


def _fresh(body: str) -> Callable[[], bytes]:
    """Bodies of which each has an id of its own, as otherwise the second would be told to be a duplicate."""
    before, after = (part.encode() for part in body.split(ID))
    number = 0

    def make() -> bytes:
        nonlocal number
        number += 1
        return b"%b%036d%b" % (before, number, after)

    return make


def _case(library: Library, body: str) -> Case:
    if library.reads_ids:
        fresh, read = _fresh(body), library.read
        return Case(library.name, lambda: read(fresh()))
    content = body.encode()
    return Case(library.name, lambda: library.read(content))


def _refuses(library: Library, body: bytes) -> bool:
    try:
        return library.read(body) is None
    except (ValueError, ValidationError):  # the former is also what pydantic and msgspec raise
        return True


def main() -> None:
    """Time everything; print microseconds by size, library and round."""
    logging.disable()
    found: dict[str, dict[str, list[float]]] = {}
    libraries = _libraries()
    for size, make in _SIZES.items():
        good, bad = make(), make()
        del bad["tenant"]
        body = events.encoded(good)
        for library in libraries:
            if _refuses(library, body.encode()) or not _refuses(library, events.encoded(bad).encode()):
                raise AssertionError(f"{library.name} does not tell a good event from a bad one")
        found[size] = interleaved([_case(library, body) for library in libraries], int(sys.argv[1]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
