"""Routes of systems: /system."""

from flask import Response, request
from sqlalchemy import Table, or_, select

from . import rows, systems
from .answers import answer, written
from .api import Api
from .paging import Paging, page
from .schemas import NewSystem, SystemChange
from .tables import CLASSES, actions, events
from .tables import systems as table

_MALFORMED = 400305
_SORTABLE = {column.name: column for column in table.c if column.name != "client"} | {"client_id": table.c.client}


def add_system_routes(api: Api) -> None:
    """Add the routes."""

    def create() -> Response:
        sent = api.body(NewSystem(), _MALFORMED)
        with api.kit.transaction() as transaction:
            id = systems.create(transaction.connection, api.settings, sent)
        return written({"systemId": id}, code=20001, message="New system created")

    def list_all() -> Response:
        query = select(table).where(~table.c.deleted)
        wanted = request.args.get("systemClass", "")
        if wanted in CLASSES:
            query = query.where(or_(table.c["class"] == wanted, table.c["class"] == "hybrid"))
        with api.kit.read() as connection:
            return answer(page(connection, query, Paging.of_request(_SORTABLE), systems.shown))

    def show(id: int) -> Response:
        with api.kit.read() as connection:
            return answer(systems.shown(rows.find(connection, table, id)))

    def list_events(id: int) -> Response:
        return _list(api, id, events)

    def list_actions(id: int) -> Response:
        return _list(api, id, actions)

    def change(id: int) -> Response:
        sent = api.body(SystemChange(), _MALFORMED)
        with api.kit.transaction() as transaction:
            systems.change(transaction.connection, api.settings, id, sent)
        return written()

    def delete(id: int) -> Response:
        with api.kit.transaction() as transaction:
            systems.delete(transaction.connection, id)
        return written()

    api.route("POST", "/system", create, "system:create")
    api.route("GET", "/system", list_all, "system:select")
    api.route("GET", "/system/{id}", show, "system:select")
    api.route("GET", "/system/{id}/events", list_events, "system:select")
    api.route("GET", "/system/{id}/actions", list_actions, "system:select")
    api.route("PUT", "/system/{id}", change, "system:update")
    api.route("DELETE", "/system/{id}", delete, "system:delete")


def _list(api: Api, id: int, of: Table) -> Response:
    """Answer with the events or actions of a system, oldest first."""
    query = select(of).where(of.c.system == id, ~of.c.deleted).order_by(of.c.id).limit(rows.MOST_LISTED)
    with api.kit.read() as connection:
        rows.find(connection, table, id)
        return answer([rows.shown(row) for row in connection.execute(query)])
