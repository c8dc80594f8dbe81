"""Events as listeners get them: the class ``Event`` and typed views on its parts.

Views read the decoded body when an attribute is accessed and copy nothing before that: an event that no function reads
costs nothing. An attribute is None, or empty if it is a collection, where the body lacks the key, holds null or, as far
as validation accepts it, holds a value of another type.

Attributes of the type ``X | Any`` are required by the specification but missing from real bodies now and then. The
``Any`` keeps type checkers from demanding a None check at each use, while they still check the attributes of X.
"""

import marshal
import reprlib
import time as clock
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Never, Self, TypeVar, overload

import orjson

from extension_kit.events.times import parse_time

STEADYBIT = "steadybit"
"""The source of the events that agents send."""

T_co = TypeVar("T_co", covariant=True)


class View:
    """A read-only look at one JSON object."""

    __slots__ = ("_data",)
    _data: dict[str, Any]

    def __init__(self, data: dict[str, Any]) -> None:
        object.__setattr__(self, "_data", data)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is read-only: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is read-only: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._data == self._data

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({reprlib.repr(self._data)})"  # shortened, as it may be large and deep

    @property
    def raw(self) -> Any:
        """A copy of the JSON object as it was sent."""
        return _copied(self._data)


class Attribute(Generic[T_co]):
    """Descriptor for one key of the body; converts its value at each access."""

    __slots__ = ("_convert", "_key")

    def __init__(self, key: str, convert: Callable[[Any], T_co]) -> None:
        self._key = key
        self._convert = convert

    @overload
    def __get__(self, view: None, owner: type[View]) -> Self: ...
    @overload
    def __get__(self, view: View, owner: type[View]) -> T_co: ...
    def __get__(self, view: View | None, owner: type[View]) -> Self | T_co:
        if view is None:
            return self
        return self._convert(view._data.get(self._key))

    if TYPE_CHECKING:  # so that type checkers, too, refuse to set an attribute

        def __set__(self, view: View, value: Never) -> None: ...


def _copied(data: Any) -> Any:
    """Copy JSON data with marshal, which is faster than deepcopy and takes data that is nested too deeply for it."""
    return marshal.loads(marshal.dumps(data))  # noqa: S302 - nobody else's bytes


def _string(value: Any) -> Any:
    return value if isinstance(value, str) else None


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else None


def _whole_number(value: Any) -> Any:
    return int(value) if value is not None else None


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value or () if item is not None)


def _mapping(value: Any) -> dict[str, Any]:
    return _copied(value) if value else {}


def _lists_of_strings(value: Any) -> dict[str, list[str]]:
    return {key: list(_strings(values)) for key, values in (value or {}).items()}


def _text(key: str) -> Attribute[str | Any]:
    return Attribute(key, _string)


def _optional_text(key: str) -> Attribute[str | None]:
    return Attribute(key, _string)


def _word(key: str) -> Attribute[str | Any]:
    """Return an attribute for an open enumeration, in lower case: documents and some senders write upper case."""
    return Attribute(key, _folded)


def _time(key: str) -> Attribute[datetime | None]:
    return Attribute(key, parse_time)


class Tenant(View):
    """The Steadybit tenant an event belongs to."""

    __slots__ = ()
    key = _text("key")
    name = _text("name")


class Team(View):
    """The team an event belongs to."""

    __slots__ = ()
    id = _optional_text("id")
    key = _text("key")
    name = _text("name")


class Environment(View):
    """The environment an experiment ran in."""

    __slots__ = ()
    id = _optional_text("id")
    name = _text("name")


class Principal(View):
    """The principal that caused an event. An instance of this very class has an unknown ``principalType``."""

    __slots__ = ()
    principal_type = _word("principalType")

    @property
    def display_name(self) -> str | None:
        """The name, else the user name, else the id."""
        names = (_string(self._data.get(key)) for key in ("name", "username", "id"))
        return next(filter(None, names), None)


class UserPrincipal(Principal):
    """A user of the platform."""

    __slots__ = ()
    username = _text("username")
    name = _text("name")
    email = _optional_text("email")


class AccessTokenPrincipal(Principal):
    """An API token; ``token_type`` is ``admin`` or ``team``."""

    __slots__ = ()
    id = _text("id")
    name = _text("name")
    token_type = _word("tokenType")


class BatchPrincipal(Principal):
    """A job of the platform itself."""

    __slots__ = ()
    username = _text("username")


_PRINCIPALS: dict[str, type[Principal]] = {
    "user": UserPrincipal,
    "access_token": AccessTokenPrincipal,
    "batch_job": BatchPrincipal,
}


class _Execution(View):
    """The common attributes of executions of experiments, steps and targets."""

    __slots__ = ()
    experiment_key = _text("experimentKey")
    execution_id: Attribute[int | Any] = Attribute("executionId", _whole_number)
    state = _word("state")
    started_time = _time("startedTime")
    ended_time = _time("endedTime")

    @property
    def duration(self) -> timedelta | None:
        """Time from start to end; None during the execution or if a time is missing."""
        if (ended := self.ended_time) is None or (started := self.started_time) is None:
            return None
        return ended - started


class ExperimentExecution(_Execution):
    """One run of an experiment."""

    __slots__ = ()
    name = _text("name")
    hypothesis = _optional_text("hypothesis")
    prepared_time = _time("preparedTime")
    reason = _optional_text("reason")
    reason_details = _optional_text("reasonDetails")
    tags: Attribute[tuple[str, ...]] = Attribute("tags", _strings)
    variables: Attribute[dict[str, Any]] = Attribute("variables", _mapping)
    properties: Attribute[dict[str, Any]] = Attribute("properties", _mapping)

    @property
    def duration(self) -> timedelta | None:
        """Time from start (else preparation) to end; None during the execution or if a time is missing."""
        started = self.started_time or self.prepared_time
        if (ended := self.ended_time) is None or started is None:
            return None
        return ended - started


class ExperimentStepExecution(_Execution):
    """One step of a run: an action, or a wait."""

    __slots__ = ()
    id = _text("id")
    type = _word("type")
    action_id = _optional_text("actionId")
    action_name = _optional_text("actionName")
    action_kind = _word("actionKind")
    custom_label = _optional_text("customLabel")

    @property
    def display_name(self) -> str | None:
        """The step's name for people: its own label, else the action's name, else the action's id, else its type."""
        return self.custom_label or self.action_name or self.action_id or self.type or None


class ExperimentStepTargetExecution(_Execution):
    """One target of a step."""

    __slots__ = ()
    id = _text("id")
    step_execution_id = _text("stepExecutionId")
    agent_hostname = _text("agentHostname")
    target_name = _text("targetName")
    target_type = _text("targetType")
    target_attributes: Attribute[dict[str, list[str]]] = Attribute("targetAttributes", _lists_of_strings)
    reason = _optional_text("reason")
    reason_details = _optional_text("reasonDetails")

    @property
    def label(self) -> str | None:
        """The target's name for people: its attribute ``steadybit.label``, else its name."""
        labels = _strings((self._data.get("targetAttributes") or {}).get("steadybit.label"))
        return labels[0] if labels else self.target_name


ViewT = TypeVar("ViewT", bound=View)


def _part(key: str, view: type[ViewT]) -> Attribute[ViewT | Any]:
    return Attribute(key, lambda data: view(data) if data is not None else None)


def _principal(data: dict[str, Any] | None) -> Principal | None:
    if data is None:
        return None
    kind = data.get("principalType")
    return _PRINCIPALS.get(kind.lower() if isinstance(kind, str) else "", Principal)(data)


FindStep = Callable[[str, str], bytes | None]
"""Finds the body of the event that started a step, by its series and the step's execution id."""


class Event(View):
    """A received event, typed and read-only.

    ``name``, ``id``, ``time``, ``source``, ``subject`` and ``raw`` are common to every protocol; the Steadybit objects
    are None on events that do not carry them.
    """

    __slots__ = ("_body", "_deadline", "_find_step")
    _body: bytes
    _deadline: float | None
    _find_step: FindStep | None

    id = _text("id")
    name = _text("eventName")
    time = _time("eventTime")
    tenant = _part("tenant", Tenant)
    team = _part("team", Team)
    environment = _part("environment", Environment)
    principal: Attribute[Principal | None] = Attribute("principal", _principal)
    experiment_execution = _part("experimentExecution", ExperimentExecution)
    experiment_step_execution = _part("experimentStepExecution", ExperimentStepExecution)
    experiment_step_target_execution = _part("experimentStepTargetExecution", ExperimentStepTargetExecution)

    def __init__(
        self,
        data: dict[str, Any],
        body: bytes,
        deadline: float | None = None,
        find_step: FindStep | None = None,
    ) -> None:
        object.__setattr__(self, "_data", data)
        object.__setattr__(self, "_body", body)
        object.__setattr__(self, "_deadline", deadline)
        object.__setattr__(self, "_find_step", find_step)

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
    def source(self) -> str:
        """The source system of the event."""
        return STEADYBIT

    @property
    def subject(self) -> str | None:
        """The subject of the event, ``<experiment key>/<execution id>``; None for an event without both."""
        execution = self._execution
        if execution is None or execution.experiment_key is None or execution.execution_id is None:
            return None
        return f"{execution.experiment_key}/{execution.execution_id}"

    @property
    def _execution(self) -> _Execution | None:
        return self.experiment_execution or self.experiment_step_execution or self.experiment_step_target_execution

    @property
    def step(self) -> ExperimentStepExecution | Any:
        """The step of a step event or of a target event, None if it is not found.

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
        """The series, ``<tenant key>/<execution id>``, or None. A listener gets the events of a series in order."""
        if (execution := self._execution) is None or execution.execution_id is None:
            return None
        tenant = self.tenant.key if self.tenant else None
        return f"{tenant}/{execution.execution_id}"

    @property
    def body(self) -> bytes:
        """The untouched body."""
        return self._body

    @property
    def raw(self) -> dict[str, Any]:
        """The untouched body, decoded anew at each access."""
        decoded: dict[str, Any] = orjson.loads(self._body)
        return decoded

    @property
    def remaining_time(self) -> float | None:
        """Seconds until the sender stops waiting (header ``Request-Timeout``), at least 0; None without a limit."""
        return None if self._deadline is None else max(0.0, self._deadline - clock.monotonic())

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
