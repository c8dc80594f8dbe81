"""Routes of contracts: /contract."""

from flask import Response, request

from . import contracts
from .answers import answer, written
from .api import Api
from .paging import Paging, page
from .schemas import ContractChange, ContractOrders, NewContract

_MALFORMED = 400105


def add_contract_routes(api: Api) -> None:
    """Add the routes."""

    def create() -> Response:
        sent = api.body(NewContract(), _MALFORMED)
        with api.kit.transaction() as transaction:
            id = contracts.create(transaction.connection, api.kit, sent)
        return written({"actionId": id})  # upstream's name for the contract's id

    def list_all() -> Response:
        query = contracts.search(request.args.get("wordSearch", ""))
        with api.kit.read() as connection:
            return answer(page(connection, query, Paging.of_request(contracts.SORTABLE), contracts.listed))

    def show(id: int) -> Response:
        with api.kit.read() as connection:
            return answer(contracts.find(connection, id))

    def list_of_event(event: int) -> Response:
        with api.kit.read() as connection:
            return answer(contracts.of_event(connection, event))

    def list_of_event_and_action(event: int, action: int) -> Response:
        with api.kit.read() as connection:
            return answer(contracts.of_event(connection, event, action))

    def change(id: int) -> Response:
        sent = api.body(ContractChange(), _MALFORMED)
        with api.kit.transaction() as transaction:
            contracts.change(transaction.connection, id, sent)
        return written()

    def change_orders() -> Response:
        sent = api.body(ContractOrders(), _MALFORMED)
        with api.kit.transaction() as transaction:
            contracts.change_orders(transaction.connection, sent["orders"])
        return written()

    def delete(id: int) -> Response:
        with api.kit.transaction() as transaction:
            contracts.delete(transaction.connection, id)
        return written()

    api.route("POST", "/contract", create, "contract:create")
    api.route("GET", "/contract", list_all, "contract:select")
    api.route("GET", "/contract/{id}", show, "contract:select")
    api.route("GET", "/contract/event/{event}", list_of_event, "contract:select")
    api.route("GET", "/contract/event/{event}/action/{action}", list_of_event_and_action, "contract:select")
    api.route("PUT", "/contract/order", change_orders, "contract:update")
    api.route("PUT", "/contract/{id}", change, "contract:update")
    api.route("DELETE", "/contract/{id}", delete, "contract:delete")
