"""The event as pydantic models, as a user of FastAPI would write them after the specification."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

State = Literal["created", "prepared", "running", "failed", "completed", "canceled", "errored"]
PartState = Literal[State, "skipped"]


class Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class UserPrincipal(Body):
    username: str
    name: str
    email: str | None = None
    principal_type: str


class AccessTokenPrincipal(Body):
    id: str
    name: str
    token_type: Literal["admin", "team"]
    principal_type: str


class BatchPrincipal(Body):
    username: str
    principal_type: str


class Tenant(Body):
    key: str
    name: str


class Team(Body):
    id: str
    key: str
    name: str


class Environment(Body):
    id: str
    name: str


class Execution(Body):
    experiment_key: str
    execution_id: float


class ExperimentExecution(Execution):
    name: str
    hypothesis: str
    tags: list[str] = []
    prepared_time: AwareDatetime
    started_time: AwareDatetime
    ended_time: AwareDatetime | None = None
    state: State
    reason: str | None = None
    reason_details: str | None = None
    variables: dict[str, str] = {}
    properties: dict[str, Any] = {}


class ExperimentStepExecution(Execution):
    id: str
    type: Literal["wait", "action"]
    action_id: str | None = None
    action_name: str | None = None
    action_kind: Literal["attack", "check", "load_test", "other"] | None = None
    custom_label: str | None = None
    started_time: AwareDatetime | None = None
    ended_time: AwareDatetime | None = None
    state: PartState


class ExperimentStepTargetExecution(Execution):
    step_execution_id: str
    id: str
    started_time: AwareDatetime | None = None
    ended_time: AwareDatetime | None = None
    state: PartState
    agent_hostname: str
    target_name: str
    target_type: str
    target_attributes: dict[str, list[str]]
    reason: str | None = None
    reason_details: str | None = None


class Event(Body):
    id: str
    event_name: str
    event_time: AwareDatetime
    principal: UserPrincipal | AccessTokenPrincipal | BatchPrincipal
    tenant: Tenant
    team: Team | None = None
    environment: Environment | None = None
    experiment_execution: ExperimentExecution | None = None
    experiment_step_execution: ExperimentStepExecution | None = None
    experiment_step_target_execution: ExperimentStepTargetExecution | None = None
