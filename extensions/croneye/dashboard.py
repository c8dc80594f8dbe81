"""Views of the dashboards: login, counts, runs, the log, and the project's name."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from flask import Blueprint, Response, request
from jsonschema_rs import Draft202012Validator
from sqlalchemy import select

from extension_kit.protocol import InvalidBody, Kit, read_json, upsert

from . import queries
from .accounts import Accounts
from .answers import Refusal, bad_request, success
from .schemas import Login, LogQuery, PasswordChange, ProjectSettings, RunsQuery, compiled
from .tables import settings as project_settings
from .times import milliseconds, parse_time

P = ParamSpec("P")
User = Mapping[str, Any]

_WINDOW = timedelta(minutes=10)
_PAGE_SIZE = 20
_PROJECT = 1

_LOGIN = compiled(Login)
_PASSWORD_CHANGE = compiled(PasswordChange)
_RUNS_QUERY = compiled(RunsQuery)
_LOG_QUERY = compiled(LogQuery)
_PROJECT_SETTINGS = compiled(ProjectSettings)


class Dashboard:
    """The views of the dashboards.

    Args:
        kit: the kit; the views read from its database.
        accounts: checks logins and tokens.
    """

    def __init__(self, kit: Kit, accounts: Accounts) -> None:
        self._kit = kit
        self._accounts = accounts

    def add_to(self, blueprint: Blueprint, prefix: str) -> None:
        """Add the views to a blueprint, under a prefix."""
        views: list[tuple[str, str, Callable[[], Response]]] = [
            ("POST", "/auth/login", self.log_in),
            ("POST", "/auth/logout", self._for_user(self.log_out)),
            ("GET", "/auth/status", self._for_user(self.status)),
            ("POST", "/auth/change-password", self._for_user(self.change_password)),
            ("POST", "/dashboard/summary", self._for_user(self.summary)),
            ("POST", "/dashboard/summary/jobs", self._for_user(self.jobs)),
            ("POST", "/dashboard/logs", self._for_user(self.logs)),
            ("GET", "/dashboard/logs/filters", self._for_user(self.filters)),
            ("GET", "/dashboard/settings", self._for_user(self.project)),
            ("POST", "/dashboard/settings", self._for_user(self.add_project)),
            ("PATCH", "/dashboard/settings", self._for_user(self.change_project)),
        ]
        for method, path, view in views:
            endpoint = f"{method.lower()}{path.replace('/', '_')}"
            blueprint.add_url_rule(prefix + path, endpoint, view, methods=[method], provide_automatic_options=False)

    def _for_user(self, view: Callable[Concatenate[User, P], Response]) -> Callable[P, Response]:
        @wraps(view)
        def admit(*args: P.args, **kwargs: P.kwargs) -> Response:
            return view(self._accounts.admit(request.headers.get("Authorization", "")), *args, **kwargs)

        return admit

    def log_in(self) -> Response:
        """Exchange an e-mail address and a password for a token. The answers have no ``data``."""
        try:
            sent = _body(_LOGIN)
        except Refusal as refusal:
            raise Refusal(400, refusal.message) from refusal
        return success(auth_token=self._accounts.log_in(sent["email"], sent["password"], request.remote_addr))

    def log_out(self, user: User) -> Response:
        """Answer success. Nothing is changed here: the client has to forget its token."""
        return success("Successfully logged out")

    def status(self, user: User) -> Response:
        """Return the logged-in user."""
        return success(data=user)

    def change_password(self, user: User) -> Response:
        """Change the password."""
        sent = _body(_PASSWORD_CHANGE)
        self._accounts.change_password(sent["current_password"], sent["new_password"], request.remote_addr)
        return success(data={})

    def summary(self, user: User) -> Response:
        """Count schedulers and jobs."""
        with self._kit.read() as connection:
            return success(data=queries.summary(connection))

    def jobs(self, user: User) -> Response:
        """Show the runs of jobs in a window."""
        wanted = _body(_RUNS_QUERY, may_be_empty=True).get("time_range", {})
        end = parse_time(wanted.get("end")) or datetime.now(UTC)
        start = parse_time(wanted.get("start")) or end - _WINDOW
        with self._kit.read() as connection:
            found = queries.jobs_with_runs(connection, start, end)
        return success(data={"jobs": found, "time_range": {"start": milliseconds(start), "end": milliseconds(end)}})

    def logs(self, user: User) -> Response:
        """Show a page of the log."""
        wanted = _body(_LOG_QUERY, may_be_empty=True)
        chosen = wanted.get("filters") or {}
        between = chosen.get("event_date", [])
        since, until = map(_parse_time, between) if len(between) == 2 else (None, None)
        filters = queries.Filters(
            wanted.get("search") or "",
            chosen.get("schedulers", ()),
            chosen.get("jobs", ()),
            chosen.get("events", ()),
            since,
            until,
        )
        page, size = int(wanted.get("page_number", 1)), int(wanted.get("page_size", _PAGE_SIZE))
        with self._kit.read() as connection:
            found, total = queries.logs(connection, filters, page, size)
        pagination = {"current_page": page, "per_page": size, "total": total, "total_pages": -(-total // size)}
        return success(data=found, meta={"pagination": pagination})

    def filters(self, user: User) -> Response:
        """List the filters of the log."""
        with self._kit.read() as connection:
            return success(data=queries.choices(connection))

    def project(self, user: User) -> Response:
        """Show the project's name."""
        return self._answer_project("")

    def add_project(self, user: User) -> Response:
        """Give the project a name."""
        self._name_project()
        return self._answer_project("Added settings")

    def change_project(self, user: User) -> Response:
        """Give the project another name."""
        self._name_project()
        return self._answer_project("Updated settings")

    def _name_project(self) -> None:
        values = {"id": _PROJECT, "project_name": _body(_PROJECT_SETTINGS)["project_name"]}
        with self._kit.transaction() as transaction:
            upsert(transaction.connection, project_settings, values, update=["project_name"])

    def _answer_project(self, message: str) -> Response:
        with self._kit.read() as connection:
            found = connection.execute(select(project_settings)).one_or_none()
        shown = {"id": found.id, "project_name": found.project_name} if found else {"id": None, "project_name": None}
        return success(message, data=shown)


def _body(validator: Draft202012Validator, *, may_be_empty: bool = False) -> dict[str, Any]:
    """Read and check the body of a request.

    Raises:
        Refusal: it is no JSON object, or does not match its schema.
    """
    try:
        return read_json(validator, may_be_empty=may_be_empty)
    except InvalidBody as error:
        raise bad_request() from error


def _parse_time(value: Any) -> datetime | None:
    try:
        return parse_time(value)
    except ValueError as error:
        raise bad_request() from error
