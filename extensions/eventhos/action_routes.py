"""Routes of actions: /action."""

from flask import Response, request

from . import actions, rows
from .action_requests import MALFORMED, make_request
from .answers import answer, written
from .api import Api
from .paging import Paging, page
from .schemas import ActionChange, NewAction
from .tables import actions as table
from .tables import systems

_SORTABLE = {name: table.c[name] for name in ("id", "identifier", "name", "operation", "description", "reply_to")} | {
    "system_id": table.c.system,
    "system_name": systems.c.name,
    "created_at": table.c.created_at,
    "updated_at": table.c.updated_at,
}


def add_action_routes(api: Api) -> None:
    """Add the routes."""

    def create() -> Response:
        sent = api.body(NewAction(), MALFORMED)
        made = make_request(sent)
        with api.kit.transaction() as transaction:
            id = actions.create(transaction.connection, api.encryption, sent, made)
        return written({"actionId": id})

    def list_all() -> Response:
        query = actions.search(request.args.get("wordSearch", ""))
        with api.kit.read() as connection:
            return answer(page(connection, query, Paging.of_request(_SORTABLE), actions.listed))

    def show(id: int) -> Response:
        with api.kit.read() as connection:
            row = rows.find(connection, table, id)
        return answer(actions.shown(api.encryption, row))

    def change(id: int) -> Response:
        sent = api.body(ActionChange(), MALFORMED)
        made = make_request(sent)
        with api.kit.transaction() as transaction:
            actions.change(transaction.connection, api.encryption, id, sent, made)
        return written()

    def delete(id: int) -> Response:
        with api.kit.transaction() as transaction:
            actions.delete(transaction.connection, id)
        return written()

    api.route("POST", "/action", create, "action:create")
    api.route("GET", "/action", list_all, "action:select")
    api.route("GET", "/action/{id}", show, "action:select")
    api.route("PUT", "/action/{id}", change, "action:update")
    api.route("DELETE", "/action/{id}", delete, "action:delete")
