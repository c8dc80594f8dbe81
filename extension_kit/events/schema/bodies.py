"""Marshmallow schemas of request and response bodies, the source of the OpenAPI documents and of validation.

They follow Steadybit's EventKit specification to the letter. The deviations of real agents are allowed for by a general
rule (``extension_kit.events.schema.modes``); exceptions from the rule are given with the field, as ``tolerant``.
"""

from typing import Any

from marshmallow import INCLUDE, Schema, fields, validate

from extension_kit.events.schema.camel_case import CamelCase
from extension_kit.events.schema.fields import AnyOf, DateTime, UniqueItems

_STATES = ("created", "prepared", "running", "failed", "completed", "canceled", "errored")
_PART_STATES = (*_STATES, "skipped")

_ANYTHING: dict[str, Any] = {}
_NOT_EMPTY = {"type": "string", "minLength": 1}
_WHOLE_NUMBER = {"type": ["integer", "string", "null"], "pattern": "^[0-9]{1,18}$"}


def _about(
    description: str, *, tolerant: dict[str, Any] | None = None, always_required: bool = False, **annotations: Any
) -> dict[str, Any]:
    """Make a field's metadata.

    Args:
        description: the description in the documents.
        tolerant: the JSON Schema of the field in tolerant mode, if the general rule does not fit.
        always_required: True if tolerant mode requires the field, too, because the kit cannot do without it.
        annotations: further OpenAPI annotations.
    """
    metadata: dict[str, Any] = {"description": description, **annotations}
    if tolerant is not None:
        metadata["x-tolerant"] = tolerant
    if always_required:
        metadata["x-always-required"] = True
    return metadata


class Body(CamelCase):
    """Base of bodies: camelCase keys; unknown keys are accepted, because the platform adds keys without notice."""

    class Meta:
        unknown = INCLUDE


class UserPrincipal(Body):
    """The user that caused an event."""

    username = fields.String(required=True)
    name = fields.String(required=True)
    email = fields.String()
    principal_type = fields.String(required=True, metadata=_about("user"))


class AccessTokenPrincipal(Body):
    """The API token that caused an event."""

    id = fields.String(required=True)
    name = fields.String(required=True)
    token_type = fields.String(required=True, validate=validate.OneOf(("admin", "team")))
    principal_type = fields.String(required=True, metadata=_about("access_token"))


class BatchPrincipal(Body):
    """The job of the platform that caused an event."""

    username = fields.String(required=True)
    principal_type = fields.String(required=True, metadata=_about("batch_job"))


class Tenant(Body):
    """The tenant an event belongs to."""

    key = fields.String(required=True)
    name = fields.String(required=True)


class Team(Body):
    """The team an event belongs to."""

    id = fields.String(required=True)
    key = fields.String(required=True)
    name = fields.String(required=True)


class Environment(Body):
    """The environment an experiment runs in."""

    id = fields.String(required=True)
    name = fields.String(required=True)


class Execution(Body):
    """The common fields of executions of experiments, steps and targets."""

    experiment_key = fields.String(required=True)
    execution_id = fields.Float(
        required=True, metadata=_about("Number of the run, a whole one", tolerant=_WHOLE_NUMBER)
    )


class ExperimentExecution(Execution):
    """One run of an experiment."""

    name = fields.String(required=True)
    hypothesis = fields.String(required=True)
    tags = fields.List(fields.String(), validate=UniqueItems())
    prepared_time = DateTime(required=True)
    started_time = DateTime(required=True)
    ended_time = DateTime()
    state = fields.String(required=True, validate=validate.OneOf(_STATES))
    reason = fields.String()
    reason_details = fields.String()
    variables = fields.Dict(
        values=fields.String(),
        metadata=_about(
            "Variables of the experiment; newer platforms send a list for one with several values",
            tolerant={"type": ["object", "null"], "additionalProperties": _ANYTHING},
        ),
    )
    properties = fields.Dict(metadata=_about("Properties that users defined for their experiments"))


class ExperimentStepExecution(Execution):
    """One step of a run."""

    id = fields.String(required=True)
    type = fields.String(required=True, validate=validate.OneOf(("wait", "action")))
    action_id = fields.String()
    action_name = fields.String()
    action_kind = fields.String(validate=validate.OneOf(("attack", "check", "load_test", "other")))
    custom_label = fields.String()
    started_time = DateTime()
    ended_time = DateTime()
    state = fields.String(required=True, validate=validate.OneOf(_PART_STATES))


class ExperimentStepTargetExecution(Execution):
    """One target of a step."""

    step_execution_id = fields.String(required=True)
    id = fields.String(required=True)
    started_time = DateTime()
    ended_time = DateTime()
    state = fields.String(required=True, validate=validate.OneOf(_PART_STATES))
    agent_hostname = fields.String(required=True)
    target_name = fields.String(required=True)
    target_type = fields.String(required=True)
    target_attributes = fields.Dict(values=fields.List(fields.String()), required=True)
    reason = fields.String()
    reason_details = fields.String()


class EventRequestBody(Body):
    """An event, as agents send it (Steadybit's Event API, Event Consumption)."""

    id = fields.String(
        required=True, metadata=_about("Unique id of the event", tolerant=_NOT_EMPTY, always_required=True)
    )
    event_name = fields.String(
        required=True,
        metadata=_about("Such as experiment.execution.failed", tolerant=_NOT_EMPTY, always_required=True),
    )
    event_time = DateTime(required=True, metadata=_about("A date-time of RFC 3339", tolerant=_ANYTHING))
    principal = AnyOf(
        UserPrincipal,
        AccessTokenPrincipal,
        BatchPrincipal,
        required=True,
        metadata=_about("Principal that caused the event"),
    )
    tenant = fields.Nested(Tenant, required=True, metadata=_about("Tenant of the event", always_required=True))
    team = fields.Nested(Team)
    environment = fields.Nested(Environment)
    experiment_execution = fields.Nested(ExperimentExecution)
    experiment_step_execution = fields.Nested(ExperimentStepExecution)
    experiment_step_target_execution = fields.Nested(ExperimentStepTargetExecution)


class EventListener(Body):
    """One listener of the registration document."""

    method = fields.String(required=True, validate=validate.OneOf(("POST", "PUT", "DELETE")))
    path = fields.String(required=True, validate=validate.Regexp("^/.*$"))
    listen_to = fields.List(
        fields.String(), required=True, metadata=_about("Names of the wanted events; * stands for all of them")
    )
    restrict_to = fields.String(
        load_default="leader", metadata=_about("Agents that call it; newer agents ignore it", deprecated=True)
    )


class EventListenerList(Body):
    """The registration document (Steadybit's Event API, Event Listeners List)."""

    event_listeners = fields.List(fields.Nested(EventListener), required=True, validate=UniqueItems())


class Problem(Schema):
    """A problem of a body."""

    pointer = fields.String(required=True, metadata=_about("Place in the body: a JSON pointer (RFC 6901)"))
    message = fields.String(required=True)


class Error(Schema):
    """The body of an error answer (upstream: ExtensionError)."""

    title = fields.String(required=True)
    detail = fields.String()
    type = fields.String()
    instance = fields.String()


class InvalidEventError(Error):
    """The body of the answer to an event that does not match the schema."""

    errors = fields.List(fields.Nested(Problem), required=True, validate=validate.Length(min=1, max=100))
