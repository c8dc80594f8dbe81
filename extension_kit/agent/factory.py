"""Event factory: makes events as a Steadybit agent sends them, valid by the specification and equal for equal seeds."""

import difflib
import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from itertools import chain, islice, repeat
from typing import Any, Literal, get_args

from extension_kit.agent.scenes import Body, Run, Scenes
from extension_kit.events.names import STEADYBIT_EVENT_NAMES

Outcome = Literal["completed", "failed", "errored", "canceled"]

EXPERIMENT = "experimentExecution"
STEP = "experimentStepExecution"
TARGET = "experimentStepTargetExecution"

ENVELOPE_KEYS = ("id", "eventTime", "tenant", "team", "environment", "principal", EXPERIMENT, STEP, TARGET)
PART_KEYS = {
    EXPERIMENT: (
        "experimentKey",
        "executionId",
        "name",
        "hypothesis",
        "tags",
        "preparedTime",
        "startedTime",
        "endedTime",
        "state",
        "reason",
        "reasonDetails",
        "variables",
        "properties",
    ),
    STEP: (
        "experimentKey",
        "executionId",
        "id",
        "type",
        "actionId",
        "actionName",
        "actionKind",
        "customLabel",
        "startedTime",
        "endedTime",
        "state",
    ),
    TARGET: (
        "experimentKey",
        "executionId",
        "stepExecutionId",
        "id",
        "startedTime",
        "endedTime",
        "state",
        "agentHostname",
        "targetName",
        "targetType",
        "targetAttributes",
        "reason",
        "reasonDetails",
    ),
}
"""The keys of the execution objects (Steadybit's EventKit specification)."""

_PREFIX = "experiment.execution."
_PARTS = {"": EXPERIMENT, "step": STEP, "target": TARGET}
_START = datetime(2026, 1, 12, 9, 0, tzinfo=UTC)


class EventFactory:
    """A factory of events and of whole experiment runs.

    Args:
        seed: equal seeds make equal events, ids included. An extension ignores an event if it has just seen its id, so
            use different seeds for events that go to one server.
        start: the time of the first event; each later event has a later time.
    """

    def __init__(self, seed: int = 0, *, start: datetime = _START) -> None:
        self._scenes = Scenes(seed, start)

    def event(self, name: str, /, **changes: Any) -> Body:
        """Make one event of a name that agents are known to send.

        Args:
            name: the event's name; it decides which execution object the event carries, and in which state.
            changes: keys to set in snake_case, of the event or of its execution object: ``state="failed"``,
                ``experiment_key="SHOP-7"``, ``event_time="2026-01-01T00:00:00Z"``. ``id`` is that of the event. A dict
                for one of the objects of an event changes only its own keys: ``team={"key": "SHOP"}``; any other value
                replaces the present one. None removes a key.

        Raises:
            ValueError: no agent is known to send events of this name.
            TypeError: an event of this name has no such key.
        """
        if name not in STEADYBIT_EVENT_NAMES:
            raise ValueError(f"{name!r} is not an event name that agents send{_near(name, STEADYBIT_EVENT_NAMES)}")
        part, usual_state = _read_name(name)
        keys = {_snake(key): key for key in (*ENVELOPE_KEYS, *PART_KEYS.get(part, ()))}
        for keyword in changes:
            if keyword not in keys:
                raise TypeError(f"{keyword!r} is not a key of {name}{_near(keyword, keys)}")
        run = self._scenes.run()
        body = self._body(name, run, part, self._content(run, part, changes.get("state") or usual_state))
        for keyword, value in changes.items():
            key = keys[keyword]
            if key in ENVELOPE_KEYS:
                _set(body, key, self._merged(key, body.get(key) or run.envelope.get(key, {}), value))
            else:
                _set(body[part], key, value)
        return body

    def run(self, *, outcome: Outcome | None = None, steps: int | None = None) -> Iterator[Body]:
        """Make the events of one experiment execution, in the order in which they happen.

        They are ``requested``, ``created``, for each step ``step-started``, the events of its targets and the end of
        the step, and the end of the experiment. Steps after one that did not complete are skipped.

        Args:
            outcome: the outcome of the experiment; None for a random one, mostly ``completed``.
            steps: number of steps, at least 1; None for one to four.

        Raises:
            ValueError: the outcome is unknown, or the number of steps less than 1.
        """
        outcomes = get_args(Outcome)
        if outcome not in (None, *outcomes) or (steps is not None and steps < 1):
            raise ValueError(f"a run has 1 or more steps and ends {', '.join(outcomes)}: not {steps} and {outcome!r}")
        random = self._scenes.random
        return self._run(
            outcome or random.choices(outcomes, weights=(12, 4, 2, 2))[0],
            steps or random.randint(1, 4),
        )

    def apart(self) -> Iterator[Iterator[Body]]:
        """Make an infinite number of experiment executions, each as an iterator of its events.

        The first fails and the second completes, so that listeners to either soon get an event; all further outcomes
        are random.
        """
        outcomes: tuple[Outcome, Outcome] = ("failed", "completed")
        for outcome in chain(outcomes, repeat(None)):
            yield self.run(outcome=outcome)

    def runs(self, count: int) -> Iterator[Body]:
        """Make the events of a number of experiment executions, one after the other, with the outcomes of ``apart``."""
        return chain.from_iterable(islice(self.apart(), count))

    def events(self, count: int) -> Iterator[Body]:
        """Make a number of events of whole experiment executions; the last one may be incomplete."""
        return islice(chain.from_iterable(self.apart()), count)

    def _run(self, outcome: Outcome, steps: int) -> Iterator[Body]:
        scenes = self._scenes
        run = scenes.run()
        for word in ("requested", "created"):
            yield self._body(_PREFIX + word, run, EXPERIMENT, scenes.reached(run.experiment, "created"))
        last = steps - 1 if outcome == "completed" else scenes.random.randrange(steps)
        for number in range(steps):
            if number <= last:
                yield from self._step(run, outcome if number == last else "completed")
            else:
                skipped = scenes.reached(scenes.step(run, may_wait=True), "skipped")
                yield self._body(_PREFIX + "step-skipped", run, STEP, skipped)
        yield self._body(_PREFIX + outcome, run, EXPERIMENT, scenes.reached(run.experiment, outcome))

    def _step(self, run: Run, outcome: Outcome) -> Iterator[Body]:
        scenes = self._scenes
        # Waiting can be canceled, but neither fail nor err.
        step = scenes.started(scenes.step(run, may_wait=outcome in ("completed", "canceled")))
        yield self._body(_PREFIX + "step-started", run, STEP, step)
        targets = [scenes.started(target) for target in scenes.targets(run, step)]
        for target in targets:
            yield self._body(_PREFIX + "target-started", run, TARGET, target)
        for target in targets:
            end = outcome if target is targets[-1] else "completed"
            yield self._body(f"{_PREFIX}target-{end}", run, TARGET, scenes.reached(target, end))
        yield self._body(f"{_PREFIX}step-{outcome}", run, STEP, scenes.reached(step, outcome))

    def _content(self, run: Run, part: str, state: str) -> Body:
        """Make the execution object of a single event."""
        scenes = self._scenes
        if not part:
            return {}
        if part == EXPERIMENT:
            return scenes.reached(run.experiment, state)
        content = scenes.step(run, may_wait=False, may_lack_targets=part == STEP)
        if part == TARGET:
            content = scenes.targets(run, content)[0]
        return scenes.reached(content if state == "skipped" else scenes.started(content), state)

    def _body(self, name: str, run: Run, part: str, content: Body) -> Body:
        body = {"id": self._scenes.id(), "eventName": name, "eventTime": self._scenes.time(), **run.envelope}
        if part:
            body[part] = content
        else:
            # Events that are not about an experiment belong to the tenant alone.
            del body["team"], body["environment"]
        return deepcopy(body)  # a receiver may change an event without changing the others of its run

    def _merged(self, key: str, base: Body, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if key == "principal" and (kind := value.get("principalType", base["principalType"])) != base["principalType"]:
            base = self._scenes.principal(kind)
        return {name: content for name, content in {**base, **value}.items() if content is not None}


def _read_name(name: str) -> tuple[str, str]:
    """Return the execution object of an event name (empty for none) and its state."""
    word = name.removeprefix(_PREFIX)
    if word == name:
        return "", ""
    family, _, suffix = word.rpartition("-")
    return _PARTS[family], {"requested": "created", "started": "running"}.get(suffix, suffix)


def _set(holder: Body, key: str, value: Any) -> None:
    if value is None:
        holder.pop(key, None)
    else:
        holder[key] = value


def _snake(key: str) -> str:
    return re.sub(r"[A-Z]", lambda capital: f"_{capital[0].lower()}", key)


def _near(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, words, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""
