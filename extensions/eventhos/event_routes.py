"""Routes of events: /event."""

from flask import Response, request
from sqlalchemy import select

from . import event_rows, rows
from .answers import answer, written
from .api import Api
from .paging import Paging, number_of_query, page
from .schemas import EventChange, NewEvent
from .tables import events

_MALFORMED = 400208
_SORTABLE = {column.name: column for column in events.c if column.name != "system"} | {"system_id": events.c.system}


def add_event_routes(api: Api) -> None:
    """Add the routes."""

    def create() -> Response:
        sent = api.body(NewEvent(), _MALFORMED)
        with api.kit.transaction() as transaction:
            id = event_rows.create(transaction.connection, api.kit, sent)
        return written({"eventId": id})

    def list_all() -> Response:
        query = select(events).where(~events.c.deleted)
        if (system := number_of_query("systemId", _MALFORMED)) is not None:
            query = query.where(events.c.system == system)
        if name := request.args.get("eventName", ""):
            query = query.where(rows.contains(name, events.c.name))
        with api.kit.read() as connection:
            return answer(page(connection, query, Paging.of_request(_SORTABLE), rows.shown))

    def change(id: int) -> Response:
        sent = api.body(EventChange(), _MALFORMED)
        with api.kit.transaction() as transaction:
            event_rows.change(transaction.connection, id, sent)
        return written()

    def delete(id: int) -> Response:
        with api.kit.transaction() as transaction:
            event_rows.delete(transaction.connection, id)
        return written()

    api.route("POST", "/event", create, "event:create")
    api.route("GET", "/event", list_all, "event:select")
    api.route("PUT", "/event/{id}", change, "event:update")
    api.route("DELETE", "/event/{id}", delete, "event:delete")
