"""The event as msgspec structs, as a user of Litestar would write them after the specification.

msgspec cannot tell structs in a union apart by their keys, so the principal is decoded as what it is, a mapping.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

State = Literal["created", "prepared", "running", "failed", "completed", "canceled", "errored"]
PartState = Literal["created", "prepared", "running", "failed", "completed", "canceled", "errored", "skipped"]
Time = Annotated[datetime, Meta(tz=True)]


class Tenant(Struct):
    key: str
    name: str


class Team(Struct):
    id: str
    key: str
    name: str


class Environment(Struct):
    id: str
    name: str


class ExperimentExecution(Struct, rename="camel", kw_only=True):
    experiment_key: str
    execution_id: float
    name: str
    hypothesis: str
    tags: list[str] = []
    prepared_time: Time
    started_time: Time
    ended_time: Time | None = None
    state: State
    reason: str | None = None
    reason_details: str | None = None
    variables: dict[str, str] = {}
    properties: dict[str, Any] = {}


class ExperimentStepExecution(Struct, rename="camel", kw_only=True):
    experiment_key: str
    execution_id: float
    id: str
    type: Literal["wait", "action"]
    action_id: str | None = None
    action_name: str | None = None
    action_kind: Literal["attack", "check", "load_test", "other"] | None = None
    custom_label: str | None = None
    started_time: Time | None = None
    ended_time: Time | None = None
    state: PartState


class ExperimentStepTargetExecution(Struct, rename="camel", kw_only=True):
    experiment_key: str
    execution_id: float
    step_execution_id: str
    id: str
    started_time: Time | None = None
    ended_time: Time | None = None
    state: PartState
    agent_hostname: str
    target_name: str
    target_type: str
    target_attributes: dict[str, list[str]]
    reason: str | None = None
    reason_details: str | None = None


class Event(Struct, rename="camel", kw_only=True):
    id: str
    event_name: str
    event_time: Time
    principal: dict[str, str | None]
    tenant: Tenant
    team: Team | None = None
    environment: Environment | None = None
    experiment_execution: ExperimentExecution | None = None
    experiment_step_execution: ExperimentStepExecution | None = None
    experiment_step_target_execution: ExperimentStepTargetExecution | None = None
