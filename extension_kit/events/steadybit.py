"""Steadybit's objects: typed views of tenants, teams, environments, and executions of experiments, steps and targets.

They are named as in Steadybit's Event API (Event Consumption, ``EventRequestBody``). Times are aware, in the offset of
the sender.
"""

from datetime import datetime, timedelta
from typing import Any

from extension_kit.events.times import parse_time
from extension_kit.events.views import (
    View,
    as_lists_of_texts,
    as_mapping,
    as_text,
    as_texts,
    as_whole_number,
    as_word,
)


class Tenant(View):
    """The Steadybit tenant an event belongs to."""

    __slots__ = ()

    @property
    def key(self) -> str | Any:
        """The unique key of the tenant, such as ``exmpl``."""
        return as_text(self._data.get("key"))

    @property
    def name(self) -> str | Any:
        """The tenant's name for people."""
        return as_text(self._data.get("name"))


class Team(View):
    """The team an event belongs to."""

    __slots__ = ()

    @property
    def id(self) -> str | None:
        """The id of the team; None where the platform leaves it out."""
        return as_text(self._data.get("id"))

    @property
    def key(self) -> str | Any:
        """The key of the team, such as ``ADM``, with which its experiments' keys begin."""
        return as_text(self._data.get("key"))

    @property
    def name(self) -> str | Any:
        """The team's name for people."""
        return as_text(self._data.get("name"))


class Environment(View):
    """The environment an experiment ran in."""

    __slots__ = ()

    @property
    def id(self) -> str | None:
        """The id of the environment; None where the platform leaves it out."""
        return as_text(self._data.get("id"))

    @property
    def name(self) -> str | Any:
        """The environment's name for people."""
        return as_text(self._data.get("name"))


class Execution(View):
    """The common attributes of executions of experiments, steps and targets."""

    __slots__ = ()

    @property
    def experiment_key(self) -> str | Any:
        """The key of the experiment, such as ``ADM-4``."""
        return as_text(self._data.get("experimentKey"))

    @property
    def execution_id(self) -> int | Any:
        """The number of the run, the same for its steps and targets."""
        return as_whole_number(self._data.get("executionId"))

    @property
    def state(self) -> str | Any:
        """The state in lower case: ``created``, ``prepared``, ``running``, ``failed``, ``completed``, ``canceled`` or
        ``errored``; of a step or target also ``skipped``.
        """
        return as_word(self._data.get("state"))

    @property
    def started_time(self) -> datetime | None:
        """The time of the start; None until then."""
        return parse_time(self._data.get("startedTime"))

    @property
    def ended_time(self) -> datetime | None:
        """The time of the end; None until then."""
        return parse_time(self._data.get("endedTime"))

    @property
    def duration(self) -> timedelta | None:
        """The time from start to end; None during the execution or if a time is missing."""
        if (ended := self.ended_time) is None or (started := self.started_time) is None:
            return None
        return ended - started


class ExperimentExecution(Execution):
    """One run of an experiment."""

    __slots__ = ()

    @property
    def name(self) -> str | Any:
        """The experiment's name for people."""
        return as_text(self._data.get("name"))

    @property
    def hypothesis(self) -> str | None:
        """The hypothesis of the experiment; None where the platform leaves it out."""
        return as_text(self._data.get("hypothesis"))

    @property
    def prepared_time(self) -> datetime | None:
        """The time of the preparation, before the start; None until then."""
        return parse_time(self._data.get("preparedTime"))

    @property
    def reason(self) -> str | None:
        """The reason for the state; None without one, as for a run that completed."""
        return as_text(self._data.get("reason"))

    @property
    def reason_details(self) -> str | None:
        """Further information about the reason; None without any."""
        return as_text(self._data.get("reasonDetails"))

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the experiment; empty without any."""
        return as_texts(self._data.get("tags"))

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the experiment by name: a text, or a list of texts from newer platforms."""
        return as_mapping(self._data.get("variables"))

    @property
    def properties(self) -> dict[str, Any]:
        """The properties that users defined for their experiments, as JSON data by key; empty without any."""
        return as_mapping(self._data.get("properties"))

    @property
    def duration(self) -> timedelta | None:
        """The time from start (else preparation) to end; None during the execution or if a time is missing."""
        started = self.started_time or self.prepared_time
        if (ended := self.ended_time) is None or started is None:
            return None
        return ended - started


class ExperimentStepExecution(Execution):
    """One step of a run: an action, or a wait."""

    __slots__ = ()

    @property
    def id(self) -> str | Any:
        """The id of the step in this run, which is ``step_execution_id`` of its targets."""
        return as_text(self._data.get("id"))

    @property
    def type(self) -> str | Any:
        """The kind of step in lower case, ``action`` or ``wait``."""
        return as_word(self._data.get("type"))

    @property
    def action_id(self) -> str | None:
        """The id of the action, such as ``com.steadybit.extension_host.stress-cpu``; None for a wait."""
        return as_text(self._data.get("actionId"))

    @property
    def action_name(self) -> str | None:
        """The action's name for people; None for a wait."""
        return as_text(self._data.get("actionName"))

    @property
    def action_kind(self) -> str | Any:
        """The kind of action in lower case: ``attack``, ``check``, ``load_test`` or ``other``; None for a wait."""
        return as_word(self._data.get("actionKind"))

    @property
    def custom_label(self) -> str | None:
        """The label that users gave to the step; None without one."""
        return as_text(self._data.get("customLabel"))

    @property
    def display_name(self) -> str | None:
        """The step's name for people: its label, else the action's name or id, else the type; None without any."""
        return self.custom_label or self.action_name or self.action_id or self.type or None


class ExperimentStepTargetExecution(Execution):
    """One target of a step."""

    __slots__ = ()

    @property
    def id(self) -> str | Any:
        """The id of the target in this step."""
        return as_text(self._data.get("id"))

    @property
    def step_execution_id(self) -> str | Any:
        """The ``id`` of the target's step, whose events have the step itself; see ``Event.step``."""
        return as_text(self._data.get("stepExecutionId"))

    @property
    def agent_hostname(self) -> str | Any:
        """The host name of the agent that reached the target."""
        return as_text(self._data.get("agentHostname"))

    @property
    def target_name(self) -> str | Any:
        """The name of the target, such as that of a host or container."""
        return as_text(self._data.get("targetName"))

    @property
    def target_type(self) -> str | Any:
        """The type of the target, such as ``com.steadybit.extension_host.host``."""
        return as_text(self._data.get("targetType"))

    @property
    def target_attributes(self) -> dict[str, list[str]]:
        """The values of the target's attributes by key, such as ``host.hostname``; empty without any."""
        return as_lists_of_texts(self._data.get("targetAttributes"))

    @property
    def reason(self) -> str | None:
        """The reason for the state; None without one."""
        return as_text(self._data.get("reason"))

    @property
    def reason_details(self) -> str | None:
        """Further information about the reason; None without any."""
        return as_text(self._data.get("reasonDetails"))

    @property
    def label(self) -> str | None:
        """The target's name for people: its attribute ``steadybit.label``, else its name; None without both."""
        labels = as_texts((self._data.get("targetAttributes") or {}).get("steadybit.label"))
        return labels[0] if labels else self.target_name
