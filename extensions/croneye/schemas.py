"""Bodies of the dashboards' requests. The schemas of the OpenAPI document are enforced."""

from typing import Any

import jsonschema_rs
from marshmallow import EXCLUDE, Schema, fields, validate

from extension_kit.protocol import json_schema_components

from .times import LAST, NUMBER

_MAX_CHOICES = 1000
_MAX_TEXT = 1000
_NO_NUL = validate.Regexp(r"^[^\x00]*$")

# It has no leap second, and no offset that leads out of the years 1970 to 9999.
_YEAR = "(197[1-9]|19[89][0-9]|[2-8][0-9]{3}|9[0-8][0-9]{2})"
_CLOCK = "[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"

TIME: dict[str, Any] = {
    "description": "In UTC: seconds or milliseconds since 1970, as a number or a text, or an ISO 8601 text.",
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": LAST},
        {"type": "string", "pattern": f"^{NUMBER}$"},
        {"type": "string", "format": "date-time", "pattern": f"^{_YEAR}-[0-9]{{2}}-[0-9]{{2}}{_CLOCK}"},
        {"type": "null"},
    ],
}


class TimeField(fields.Field[Any]):
    """A time in any format that services use."""

    def json_schema(self, ref: Any) -> dict[str, Any]:
        """Return the JSON Schema of a time."""
        return TIME


def _milliseconds(description: str) -> fields.Integer:
    return fields.Integer(validate=validate.Range(0, LAST), metadata={"description": description})


def _text(description: str, *, required: bool = False, shortest: int = 0, allow_none: bool = False) -> fields.String:
    checks = [validate.Length(shortest, _MAX_TEXT), _NO_NUL]
    return fields.String(
        required=required, allow_none=allow_none, validate=checks, metadata={"description": description}
    )


def _choices(description: str) -> fields.List[Any]:
    inner = fields.String(validate=[validate.Length(max=_MAX_TEXT), _NO_NUL])
    return fields.List(inner, validate=validate.Length(max=_MAX_CHOICES), metadata={"description": description})


class Body(Schema):
    """An object; unknown keys are ignored."""

    class Meta:
        unknown = EXCLUDE


class Login(Body):
    """The e-mail address and password of a login."""

    email = _text("The administrator's e-mail address.", required=True)
    password = _text("The password.", required=True)


class PasswordChange(Body):
    """A new password for the logged-in user."""

    current_password = _text("The password that holds.", required=True)
    new_password = _text("The one that is to hold.", required=True, shortest=8)


class TimeRange(Body):
    """A window, in milliseconds since 1970."""

    start = _milliseconds("Its begin; without one, ten minutes before its end.")
    end = _milliseconds("Its end; without one, now.")


class RunsQuery(Body):
    """The window of a query for runs."""

    time_range = fields.Nested(TimeRange)


class LogFilters(Body):
    """Filters of the log; an empty list selects everything."""

    schedulers = _choices("Names of schedulers.")
    jobs = _choices("Names of jobs.")
    events = _choices("Names of events, such as EVENT_JOB_ERROR. Without any: all that are about runs.")
    event_date = fields.List(
        TimeField(), validate=validate.Length(max=2), metadata={"description": "From when to when; fewer are ignored."}
    )


class LogQuery(Body):
    """A page of the log."""

    search = _text("Part of a job's name.", allow_none=True)
    filters = fields.Nested(LogFilters, allow_none=True)
    page_number = fields.Integer(validate=validate.Range(1, 1_000_000), metadata={"default": 1})
    page_size = fields.Integer(validate=validate.Range(1, 1000), metadata={"default": 20})


class ProjectSettings(Body):
    """The name of the project."""

    project_name = _text("A name.", required=True, allow_none=True)


COMPONENTS = json_schema_components(Login, PasswordChange, RunsQuery, LogQuery, ProjectSettings)
"""The schemas of the OpenAPI document."""


def compiled(schema: type[Body]) -> jsonschema_rs.Draft202012Validator:
    """Return the validator of a body."""
    reference = {"$ref": f"#/components/schemas/{schema.__name__}", "components": {"schemas": COMPONENTS}}
    return jsonschema_rs.Draft202012Validator(reference, validate_formats=True)
