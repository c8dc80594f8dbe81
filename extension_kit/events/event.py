"""Events as listeners get them: the class ``Event``, with the attributes of every event and views of its parts."""

import time as clock
from collections.abc import Callable
from datetime import datetime
from typing import Any, Self

import orjson

from extension_kit.events.principals import Principal, as_principal
from extension_kit.events.state import NO_STATE, EventAttempt, State
from extension_kit.events.steadybit import (
    Environment,
    ExperimentExecution,
    ExperimentStepExecution,
    ExperimentStepTargetExecution,
    Team,
    Tenant,
)
from extension_kit.events.times import parse_time
from extension_kit.events.views import View, as_part, as_text, as_whole_number, set_data, slot_setter

STEADYBIT = "steadybit"
"""The source of the events that agents send."""

_EXECUTIONS = ("experimentExecution", "experimentStepExecution", "experimentStepTargetExecution")

FindStep = Callable[[str, str], bytes | None]
"""Finds the body of the event that started a step, by its series and the step's execution id."""


class Event(View):
    """A received event, typed and read-only.

    ``name``, ``id``, ``time``, ``source``, ``subject`` and ``raw`` are common to every protocol; the Steadybit objects
    are None on events that do not carry them.
    """

    __slots__ = ("_attempt", "_body", "_deadline", "_find_step")
    _body: bytes
    _deadline: float | None
    _find_step: FindStep | None
    _attempt: EventAttempt | None

    def __init__(
        self,
        data: dict[str, Any],
        body: bytes,
        deadline: float | None = None,
        find_step: FindStep | None = None,
    ) -> None:
        set_data(self, data)
        _set_body(self, body)
        _set_deadline(self, deadline)
        _set_find_step(self, find_step)
        set_attempt(self, None)

    @classmethod
    def from_body(
        cls,
        body: bytes | dict[str, Any],
        *,
        deadline: float | None = None,
        find_step: FindStep | None = None,
    ) -> Self:
        """Make an event from a JSON body or its decoded form, without validating it.

        Args:
            body: the event.
            deadline: the time at which the sender stops waiting, by ``time.monotonic()``; None without a limit.
            find_step: finds the step of a target event, for ``step``.

        Raises:
            ValueError: the bytes are not JSON.
        """
        if isinstance(body, bytes):
            return cls(orjson.loads(body), body, deadline, find_step)
        return cls(body, orjson.dumps(body), deadline, find_step)

    @property
    def id(self) -> str | Any:
        """The unique id of the event; an event that is sent again has the same."""
        return as_text(self._data.get("id"))

    @property
    def name(self) -> str | Any:
        """The event name, such as ``experiment.execution.failed``."""
        return as_text(self._data.get("eventName"))

    @property
    def time(self) -> datetime | None:
        """The time of the event, aware and in the sender's offset; None where it is missing or no date-time."""
        return parse_time(self._data.get("eventTime"))

    @property
    def tenant(self) -> Tenant | Any:
        """The tenant of the event."""
        return as_part(Tenant, self._data.get("tenant"))

    @property
    def team(self) -> Team | Any:
        """The team of the event; None for an event without one, such as one of the emergency stop."""
        return as_part(Team, self._data.get("team"))

    @property
    def environment(self) -> Environment | Any:
        """The environment of the experiment; None for an event without one."""
        return as_part(Environment, self._data.get("environment"))

    @property
    def principal(self) -> Principal | None:
        """The user, API token or platform job that caused the event; None where it is missing."""
        return as_principal(self._data.get("principal"))

    @property
    def experiment_execution(self) -> ExperimentExecution | Any:
        """The run of an event of a whole execution; None for other events."""
        return as_part(ExperimentExecution, self._data.get("experimentExecution"))

    @property
    def experiment_step_execution(self) -> ExperimentStepExecution | Any:
        """The step of a step event; None for other events. ``step`` has it for target events, too."""
        return as_part(ExperimentStepExecution, self._data.get("experimentStepExecution"))

    @property
    def experiment_step_target_execution(self) -> ExperimentStepTargetExecution | Any:
        """The target of a target event; None for other events."""
        return as_part(ExperimentStepTargetExecution, self._data.get("experimentStepTargetExecution"))

    @property
    def source(self) -> str:
        """The source system of the event: ``steadybit`` for the events of agents."""
        return STEADYBIT

    @property
    def subject(self) -> str | None:
        """The subject of the event, ``<experiment key>/<execution id>``; None for an event without both."""
        if (execution := self._execution) is None:
            return None
        key, number = as_text(execution.get("experimentKey")), as_whole_number(execution.get("executionId"))
        return None if key is None or number is None else f"{key}/{number}"

    @property
    def _execution(self) -> dict[str, Any] | None:
        """The object of the execution: not as a view, because every durable event is recorded by its content."""
        data = self._data
        for key in _EXECUTIONS:
            if (execution := data.get(key)) is not None:
                return execution  # type: ignore[no-any-return]
        return None

    @property
    def step(self) -> ExperimentStepExecution | Any:
        """The step of a step event or of a target event; None for other events, or if it is not found.

        A target event does not describe its step; the event that started the step does. That event is found if the
        extension has a durable listener, listens to ``experiment.execution.step-started``, too, and the step started
        less than a day ago.
        """
        if (own := self.experiment_step_execution) is not None:
            return own
        target = self.experiment_step_target_execution
        if target is None or self._find_step is None or self.series is None or not target.step_execution_id:
            return None
        body = self._find_step(self.series, target.step_execution_id)
        return Event.from_body(body).experiment_step_execution if body else None

    @property
    def series(self) -> str | None:
        """The series, ``<tenant key>/<execution id>``; None for an event without execution.

        A listener gets the events of a series in order.
        """
        if (execution := self._execution) is None or (number := execution.get("executionId")) is None:
            return None
        tenant = self._data.get("tenant")
        return f"{as_text(tenant.get('key')) if tenant else None}/{as_whole_number(number)}"

    @property
    def body(self) -> bytes:
        """The body as it was sent, in JSON."""
        return self._body

    @property
    def raw(self) -> dict[str, Any]:
        """The body as it was sent, decoded anew at each access."""
        decoded: dict[str, Any] = orjson.loads(self._body)
        return decoded

    @property
    def remaining_time(self) -> float | None:
        """Seconds until the sender stops waiting (header ``Request-Timeout``), at least 0; None without a limit."""
        return None if self._deadline is None else max(0.0, self._deadline - clock.monotonic())

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1; attempts before a replay count on."""
        return 1 if self._attempt is None else self._attempt.number

    @property
    def state(self) -> State:
        """The state of the extension, to be read and changed in the delivery to a durable listener.

        Raises:
            RuntimeError: the listener is immediate.
        """
        if self._attempt is None:
            raise RuntimeError(NO_STATE)
        return self._attempt.state

    @property
    def is_experiment(self) -> bool:
        """True for an event of a whole execution, such as ``experiment.execution.completed``."""
        return self.name.startswith("experiment.execution.") and not (self.is_step or self.is_target)

    @property
    def is_step(self) -> bool:
        """True for an event of a step, ``experiment.execution.step-...``."""
        return self.name.startswith("experiment.execution.step-")

    @property
    def is_target(self) -> bool:
        """True for an event of a target of a step, ``experiment.execution.target-...``."""
        return self.name.startswith("experiment.execution.target-")

    @property
    def is_killswitch(self) -> bool:
        """True for an event of the emergency stop, ``killswitch....``."""
        return self.name.startswith("killswitch.")

    def __repr__(self) -> str:
        return f"Event(name={self.name!r}, id={self.id!r})"


_set_body = slot_setter(Event, "_body")
_set_deadline = slot_setter(Event, "_deadline")
_set_find_step = slot_setter(Event, "_find_step")
set_attempt = slot_setter(Event, "_attempt")
