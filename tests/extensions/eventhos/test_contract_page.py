"""The page of contracts in the event log."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from extension_kit.protocol import BadPlace
from extensions.eventhos import contract_page, extension
from extensions.eventhos.contract_page import read_contracts
from extensions.eventhos.settings import EventhosSettings
from extensions.eventhos.tables import executions
from tests.extensions.eventhos.api import CRYPTO_KEY
from tests.extensions.eventhos.making import ended
from tests.support.log_clients import log_client
from tests.support.receivers import reply

NOW = datetime.now(UTC)


@pytest.fixture
def page(api):
    """Read the page as dictionaries, with the words of states."""

    def page(before=None, limit=50):
        with api.database.read() as connection:
            table = read_contracts(connection, EventhosSettings(crypto_key=(CRYPTO_KEY,)), before, limit)
        return table, [dict(zip(table.columns, row, strict=True)) for row in table.rows]

    return page


@pytest.fixture
def add(world):
    """Add executions of a contract: their states with their begins."""

    def add(contract, *rows):
        with world.api.database.transaction() as connection:
            for number, (state, begun, more) in enumerate(rows):
                values = {"received": number + 1, "contract": contract, "order": 0, "state": state, "started_at": begun}
                connection.execute(insert(executions).values(**values, **more))

    return add


def bars(row):
    return [(bar.state, bar.begin) for bar in row["Executions of the last 24 hours"].bars]


def test_contracts_have_an_event_an_action_and_their_executions(world, page, receiver, working):
    there = receiver(answer=lambda request: reply(500 if request.path == "/b" else 200))
    first = world.add_contract(there.url("/a", "127.0.0.1"), order=1)
    world.add_contract(there.url("/b", "127.0.0.1"), active=False)
    with working(world.api):
        world.send({})
        ended(world, 1)
    table, (newer, older) = page()
    assert (older["Event"], older["Order"], older["Not ended"]) == (world.identifier, 1, 0)
    assert (older["State"].word, newer["State"].word) == ("active", "inactive")
    assert older["Last execution"].word == "processed"
    assert [state for state, _ in bars(older)] == ["processed"]
    assert (newer["Last execution"], bars(newer), first) == (None, [], first)
    assert (table.next, table.note) == (None, "")


def test_executions_have_the_state_that_the_log_of_eventhos_shows(world, page, add):
    hours = [NOW - timedelta(hours=number) for number in range(30)]
    contract = world.add_contract("http://localhost/")
    add(
        contract,
        ("processed", hours[25], {}),
        ("processed", hours[5], {}),
        ("error", hours[4], {}),
        ("error", hours[3], {"aborted": True}),
        ("error", hours[2], {"retried": True}),
        (None, hours[1], {}),
        (None, None, {}),
    )
    _, (row,) = page()
    assert bars(row) == [
        ("processed", hours[5]),
        ("error", hours[4]),
        ("aborted", hours[3]),
        ("retried", hours[2]),
        ("running", hours[1]),
    ]
    assert (row["Last execution"].word, row["Last begun"], row["Not ended"]) == ("running", hours[1], 2)


def test_of_many_executions_the_newest_are_shown_and_the_page_says_so(world, page, add, monkeypatch):
    monkeypatch.setattr(contract_page, "MOST_EXECUTIONS", 4)
    monkeypatch.setattr(contract_page, "MOST_SHOWN", 3)
    monkeypatch.setattr(contract_page, "MOST_PENDING", 2)
    minutes = [NOW - timedelta(minutes=number) for number in range(6)]
    add(world.add_contract("http://localhost/"), *((None, minute, {}) for minute in minutes[::-1]))
    table, (row,) = page()
    assert [begin for _, begin in bars(row)] == minutes[2::-1]
    assert row["Not ended"] == "2 or more"
    assert table.note == "Of all contracts, the 4 newest executions are shown."


def test_contracts_are_all_on_one_page_or_the_other(world, page):
    made = [world.add_contract("http://localhost/", name=f"contract {number}") for number in range(5)]
    place, found = None, []
    while True:
        table, rows = page(place, 2)
        found += [row["Contract"] for row in rows]
        if (place := table.next) is None:
            break
    assert found == [f"contract {number}" for number in range(5)][::-1]
    assert len(made) == 5


@pytest.mark.parametrize("place", ["", "x", "-1", "²", "9223372036854775808"])
def test_other_places_are_refused(page, place):
    with pytest.raises(BadPlace):
        page(place)


def test_the_event_log_shows_the_page(world, add, monkeypatch):
    monkeypatch.setenv("EXTENSION_EVENTHOS_CRYPTO_KEY", CRYPTO_KEY)
    add(world.add_contract("http://localhost/", name="<b>"), ("error", NOW, {}))
    with log_client(world.api.database, extension) as client:
        shown = client.get("/protocols/eventhos/contracts").text
    assert "&lt;b&gt;" in shown
    assert '<rect class="error"' in shown
