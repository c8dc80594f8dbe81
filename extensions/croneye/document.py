"""The OpenAPI document of CronEye's API, for services and dashboards."""

from typing import Any

from extension_kit.protocol import JSON_SCHEMA_DIALECT, OpenApiBuilder, json_request, json_response

from .codes import EXECUTION, SCHEDULER, Code
from .schemas import COMPONENTS, TIME

Document = dict[str, Any]

API = "/croneye/api"
"""Path prefix of the dashboards' API."""

UPSTREAM_PREFIX = f"{API}/listener"
"""Path prefix of ``/event`` in upstream."""

_NAME: Document = {"anyOf": [{"type": "integer"}, {"type": "string", "minLength": 1}]}
_ANYTHING: Document = {}


def _described(description: str, schema: Document) -> Document:
    return {"description": description, **schema}


_JOB_ID = {"job_id": _described("The job's id", _NAME)}
_SUBMISSION = {**_JOB_ID, "time": TIME, "next_scheduled_run_time": TIME}
_FAILURE = {
    **_JOB_ID,
    "time": TIME,
    "exception": _described("The exception that the job raised", _ANYTHING),
    "traceback": _described("The traceback of the exception", _ANYTHING),
}
_STORE = "The job store's name, which has to be that of the scheduler; jobstore is read, too, and alias after both"


def _event(title: str, codes: list[Code], needed: list[str], properties: Document) -> Document:
    # true is 1, because CronEye compares as Python does.
    numbers: list[Any] = [*map(int, codes), *([True] if Code.SCHEDULER_STARTED in codes else [])]
    return {
        "title": title,
        "type": "object",
        "required": ["event_code", *needed],
        "properties": {"event_code": {"enum": numbers}, **properties},
    }


_SUBMITTED = [Code.JOB_SUBMITTED, Code.JOB_MAX_INSTANCES]
_FAILED = [Code.JOB_ERROR, Code.JOB_MISSED]
_CHECKED = SCHEDULER | EXECUTION | {Code.JOB_ADDED, Code.JOB_REMOVED}

_EVENTS = [
    _event("Scheduler", sorted(SCHEDULER), ["alias"], {"alias": _described("The scheduler's name", _NAME)}),
    _event(
        "Job added",
        [Code.JOB_ADDED],
        ["job_id", "task"],
        {
            "job_store": _described(_STORE, _ANYTHING),
            **_JOB_ID,
            "task": _described("The job's name", {"not": {"type": "null"}}),
        },
    ),
    _event("Job removed", [Code.JOB_REMOVED], ["job_id"], _JOB_ID),
    _event("Job submitted", _SUBMITTED, ["job_id"], _SUBMISSION),
    _event("Job failed", _FAILED, ["job_id"], _FAILURE),
    _event(
        "Job executed",
        [Code.JOB_EXECUTED],
        ["job_id"],
        {**_JOB_ID, "time": TIME, "return_value": _described("The return value of the job", _ANYTHING)},
    ),
    {
        "title": "Others",
        "description": "16, 32, 64, 128, 256 and 2048 are kept as they are, unknown codes are answered with success "
        "and dropped",
        "type": "object",
        "properties": {"event_code": {"not": {"enum": [*sorted(map(int, _CHECKED)), True]}}},
    },
]

_OPTIONAL = {"RunsQuery", "LogQuery"}
"""Bodies that are optional."""

_WITH_PASSWORD = {"Login", "PasswordChange"}
"""Bodies with a password. Wrong tries are counted."""

_FAILURES: Document = {
    "BadRequest": "A header is missing, or the request is malformed or holds an impossible value",
    "Unauthorised": "The token is wrong, or is not valid any more",
    "NotFound": "There is no such user",
    "TooManyTries": "There were too many wrong passwords, or there are too many logins at once",
    "TooLarge": "The body is larger than the server accepts",
    "Failed": "It could not be stored or read; nothing was changed",
}


def build_document(prefix: str = "") -> Document:
    """Return the OpenAPI document.

    Args:
        prefix: the path prefix of ``/event``.
    """
    builder = OpenApiBuilder(
        "croneye",
        "1",
        "CronEye's API: services send events of APScheduler, dashboards read jobs, runs and log.",
        jsonSchemaDialect=JSON_SCHEMA_DIALECT,
    )
    _add_components(builder)
    for path in dict.fromkeys((f"{prefix}/event", f"{UPSTREAM_PREFIX}/event")):
        builder.add_operation("post", path, _listener())
    login = {"200": json_response("A token for five days", "LoggedIn")}
    builder.add_operation("post", f"{API}/auth/login", _operation("Log in", "Login", login, security=[]))
    for path, operations in _views().items():
        for method, operation in operations.items():
            builder.add_operation(method, API + path, operation)
    described = {"200": json_response("An OpenAPI document", {"type": "object"})}
    openapi = {"tags": ["dashboards"], "summary": "Get this document", "responses": described, "security": []}
    builder.add_operation("get", f"{API}/openapi.json", openapi)
    return builder.build()


def _add_components(builder: OpenApiBuilder) -> None:
    builder.add_tag("listener", "Events of services")
    builder.add_tag("dashboards", "Requests of dashboards")
    builder.components.security_scheme(
        "listener", {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Token ..."}
    )
    builder.components.security_scheme("user", {"type": "http", "scheme": "bearer"})
    builder.add_schemas(
        {
            **COMPONENTS,
            "Event": {"anyOf": _EVENTS},
            "Success": _envelope("success", data={"type": "object"}),
            "Failure": _envelope("failure"),
            "LoggedIn": _envelope("success", auth_token={"type": "string"}),
            "LogPage": _envelope("success", data=_list_of(_ENTRY), meta=_PAGINATION),
            "Summary": _envelope("success", data=_object(_SUMMARY)),
            "Runs": _envelope("success", data=_object({"jobs": _list_of(_JOB), "time_range": _RANGE})),
        }
    )
    for name, description in _FAILURES.items():
        builder.components.response(name, json_response(description, "Failure"))


def _listener() -> Document:
    responses = {"200": json_response("The event is stored, or was dropped because its code is unknown", "Success")}
    return _operation("Send an event", "Event", responses, tag="listener", security=[{"listener": []}])


def _views() -> dict[str, dict[str, Document]]:
    done = {"200": json_response("Done", "Success")}
    return {
        "/auth/logout": {"post": _operation("Log out", None, {"200": json_response("Done", _envelope("success"))})},
        "/auth/status": {"get": _operation("Get the user", None, done)},
        "/auth/change-password": {"post": _operation("Change the password", "PasswordChange", done)},
        "/dashboard/summary": {"post": _operation("Count jobs", None, {"200": json_response("Counts", "Summary")})},
        "/dashboard/summary/jobs": {
            "post": _operation(
                "Get the runs of a window", "RunsQuery", {"200": json_response("Jobs with runs", "Runs")}
            )
        },
        "/dashboard/logs": {
            "post": _operation("Get a page of the log", "LogQuery", {"200": json_response("Found", "LogPage")})
        },
        "/dashboard/logs/filters": {"get": _operation("List the filters of the log", None, done)},
        "/dashboard/settings": {
            "get": _operation("Get the project's name", None, done),
            "post": _operation("Give the project a name", "ProjectSettings", done),
            "patch": _operation("Give the project another name", "ProjectSettings", done),
        },
    }


def _operation(
    summary: str,
    body: str | None,
    responses: Document,
    *,
    tag: str = "dashboards",
    security: list[dict[str, list[str]]] | None = None,
) -> Document:
    failures = {"400": "BadRequest", "401": "Unauthorised", "413": "TooLarge", "500": "Failed"}
    if tag != "listener":
        failures["404"] = "NotFound"
    if body in _WITH_PASSWORD:
        failures["429"] = "TooManyTries"
    operation: Document = {
        "tags": [tag],
        "summary": summary,
        "security": [{"user": []}] if security is None else security,
        "responses": dict(sorted({**responses, **failures}.items())),
    }
    if body is not None:
        operation["requestBody"] = json_request(body, required=body not in _OPTIONAL)
    return operation


def _envelope(status: str, **content: Document) -> Document:
    fixed = {"status": {"const": status}, "message": {"type": "string"}}
    return {"type": "object", "required": [*fixed, *content], "properties": {**fixed, **content}}


def _object(properties: dict[str, Document]) -> Document:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list_of(properties: dict[str, Document]) -> Document:
    return {"type": "array", "items": _object(properties)}


_TEXT = {"type": ["string", "null"]}
_MILLISECONDS = {"type": ["integer", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_RANGE = _object({"start": {"type": "integer"}, "end": {"type": "integer"}})
_SUMMARY: dict[str, Document] = {
    "scheduler": {"enum": ["active", "inactive"]},
    "total_jobs": _COUNT,
    "running_jobs": _COUNT,
    "overrun_jobs": _COUNT,
    "lost_jobs": _COUNT,
}
_RUN: dict[str, Document] = {
    "start": _MILLISECONDS,
    "end": _MILLISECONDS,
    "return_value": _TEXT,
    "exception": _TEXT,
    "traceback": _TEXT,
    "miss_flag": {"type": "boolean"},
    "max_instance_count": {"type": "array", "items": {"type": "integer"}},
    "outcome": {"enum": ["succeeded", "failed", "missed", "lost", None]},
    "duration": _MILLISECONDS,
}
_STATUS: Document = {"enum": ["active", "removed"]}
_JOB: dict[str, Document] = {
    "id": {"type": "string"},
    "name": {"type": "string"},
    "next_scheduled_run": _MILLISECONDS,
    "events": _list_of(_RUN),
    "job_status": _STATUS,
}
_ENTRY: dict[str, Document] = {
    "scheduler_name": _TEXT,
    "scheduler_status": {"enum": ["active", "paused", "shutdown", None]},
    "job_id": _TEXT,
    "job_name": _TEXT,
    "job_next_schedule_run": _MILLISECONDS,
    "event_status": {"enum": [code.constant for code in Code]},
    "event_time": _MILLISECONDS,
    "event_return_value": _TEXT,
    "event_exception": _TEXT,
    "event_traceback": _TEXT,
    "job_status": {"enum": [*_STATUS["enum"], None]},
}
_PAGES = dict.fromkeys(("current_page", "per_page", "total", "total_pages"), _COUNT)
_PAGINATION = _object({"pagination": _object(_PAGES)})
