"""Pages of the event log: those of a plain list, at the same cost for every page."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, event, insert, update

from extensions.eventhos import log_pages
from extensions.eventhos.event_log import EventLog
from extensions.eventhos.log_filter import Filter
from extensions.eventhos.paging import Paging
from extensions.eventhos.settings import EventhosSettings
from extensions.eventhos.tables import ERROR, PROCESSED, executions, received
from tests.extensions.eventhos.making import World, encryption

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
ENDS = {
    None: {"state": None, "aborted": False, "retried": False},
    "processed": {"state": PROCESSED, "aborted": False, "retried": False},
    "error": {"state": ERROR, "aborted": False, "retried": False},
    "aborted": {"state": ERROR, "aborted": True, "retried": False},
    "retried": {"state": ERROR, "aborted": False, "retried": True},
}


class Log:
    """A log of three events of two systems, beside a plain list of what is in it.

    The first event has two contracts, the second one, and the third, of the other system, has one, too.
    """

    def __init__(self, api):
        self.api = api
        first, other = World(api), World(api, key="another-key")
        second = first.add_event(f"second-{first.identifier}")
        self.identifiers = {first.event: first.identifier, second: f"second-{first.identifier}"}
        self.identifiers[other.event] = other.identifier
        self.systems = {first.event: first.system, second: first.system, other.event: other.system}
        url = "http://127.0.0.1:1/"
        self.contracts = {
            first.event: [first.add_contract(url), first.add_contract(url)],
            second: [first.add_contract(url, event=second)],
            other.event: [other.add_contract(url)],
        }
        self.rows = []

    def add(self, new):
        """Add events: dicts with ``id``, ``event``, ``seconds`` and ``ends``, one for each contract."""
        entries = [
            {"id": row["id"], "event": row["event"], "request": b"", "received_at": self.time(row["seconds"])}
            for row in new
        ]
        ran = [
            {"received": row["id"], "contract": contract, "order": 0, **ENDS[end]}
            for row in new
            for contract, end in zip(self.contracts[row["event"]], row["ends"], strict=True)
        ]
        with self.api.database.transaction() as connection:
            connection.execute(insert(received), entries)
            connection.execute(insert(executions), ran)
        self.rows += new

    @staticmethod
    def time(seconds):
        return BEGAN + timedelta(seconds=seconds)

    def remove(self, ids):
        with self.api.database.transaction() as connection:
            connection.execute(delete(executions).where(executions.c.received.in_(ids)))
            connection.execute(delete(received).where(received.c.id.in_(ids)))
        self.rows = [row for row in self.rows if row["id"] not in ids]

    def end(self, row, number, end):
        """End an execution of an event."""
        contract = self.contracts[row["event"]][number]
        with self.api.database.transaction() as connection:
            wanted = executions.c.received == row["id"], executions.c.contract == contract
            connection.execute(update(executions).where(*wanted).values(ENDS[end]))
        row["ends"][number] = end

    def matching(self, query):
        """Return the numbers of the events that a query matches, ascending."""
        return sorted(
            row["id"]
            for row in self.rows
            if query.get("systemId") in (None, self.systems[row["event"]])
            and query.get("eventIdentifierSearch") in (None, self.identifiers[row["event"]])
            and query.get("idSearch") in (None, row["id"])
            and self.milliseconds(row["seconds"]) >= query.get("fromTime", 0)
            and self.milliseconds(row["seconds"]) <= query.get("toTime", 10**15)
            and ("state" not in query or query["state"] in row["ends"])
        )

    def milliseconds(self, seconds):
        return int(self.time(seconds).timestamp() * 1000)


class Walk:
    """Random steps of a log, which is compared with its list after each."""

    def __init__(self, log, seed):
        self._log = log
        self._random = random.Random(seed)
        self._next = 1

    def walk(self, steps):
        self.arrive()
        for _ in range(steps):
            self._random.choice([self.arrive, self.arrive, self.leave, self.end])()
            for _ in range(6):
                self.compare()

    def arrive(self):
        """Some numbers are left out, and some times are not in the order of the numbers."""
        choose, new = self._random.choice, []
        for _ in range(self._random.randrange(1, 60)):
            kind = choose([*self._log.contracts])
            ends = [choose([*ENDS, "processed", "processed"]) for _ in self._log.contracts[kind]]
            seconds = self._next + choose([0] * 8 + [-20, 20])
            new.append({"id": self._next, "event": kind, "seconds": seconds, "ends": ends})
            self._next += choose([1] * 9 + [7])
        self._log.add(new)

    def leave(self):
        """Old ones usually, and some others."""
        ids = sorted(row["id"] for row in self._log.rows)
        some = {*ids[: len(ids) // 4]} - {*ids[::10]} | {each for each in ids if self._random.random() < 0.02}
        self._log.remove(some)

    def end(self):
        for _ in range(5):
            row = self._random.choice(self._log.rows)
            self._log.end(row, self._random.randrange(len(row["ends"])), self._random.choice([*ENDS]))

    def compare(self):
        query = self.query()
        matching = self._log.matching(query)
        order = self._random.choice(["asc", "desc"])
        size = self._random.choice([1, 3, 10, 100])
        pages = -(-len(matching) // size)
        index = self._random.choice([0, pages // 2, max(0, pages - 1), pages])
        asked = {**query, "order": order, "itemsPerPage": size, "pageIndex": index}
        content = self._log.api.ask("GET", "/event/received", **asked)["content"]
        listed = matching[::-1] if order == "desc" else matching
        assert [each["id"] for each in content["items"]] == listed[index * size : (index + 1) * size], asked
        assert (content["totalItems"], content["totalPages"]) == (len(matching), pages), asked

    def query(self):
        log, choose = self._log, self._random.choice
        first, last = sorted(choose(log.rows)["seconds"] for _ in range(2))
        possible = {
            "systemId": choose([*log.systems.values(), 10**6]),
            "eventIdentifierSearch": choose([*log.identifiers.values(), "unknown"]),
            "fromTime": log.milliseconds(first),
            "toTime": log.milliseconds(last),
            "state": choose([end for end in ENDS if end]),
            "idSearch": choose(log.rows)["id"],
        }
        names = self._random.sample([*possible], choose([0, 1, 1, 2, 2, 3]))
        return {name: possible[name] for name in names}


@pytest.fixture(params=[2, 1000], ids="window-{}".format)
def window(request, monkeypatch):
    """How many numbers are sorted for a page: a short log has the parts of a long one."""
    monkeypatch.setattr(log_pages, "_WINDOW", request.param)


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize("seed", range(2))
def test_pages_are_those_of_a_list_while_events_arrive_leave_and_end(api, seed):
    Walk(Log(api), seed).walk(12)


@pytest.mark.usefixtures("window")
def test_the_pages_from_the_oldest_have_each_event_once_while_others_arrive(api):
    log, seen = Log(api), []
    [kind, *_] = log.contracts
    for index in range(12):
        first = 1 + 14 * index
        log.add([{"id": first + 2 * n, "event": kind, "seconds": 0, "ends": ["error", None]} for n in range(7)])
        page = api.ask("GET", "/event/received", order="asc", itemsPerPage=5, pageIndex=index, state="error")
        seen += [each["id"] for each in page["content"]["items"]]
    assert seen == list(range(1, 121, 2))


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize("query", [{}, {"state": "processed"}, {"fromTime": 0}])
def test_impossible_pages_and_columns_are_as_if_they_were_not_sent(api, query):
    log = Log(api)
    [kind, *_] = log.contracts
    log.add([{"id": n, "event": kind, "seconds": n, "ends": ["processed"] * 2} for n in range(1, 121)])

    def page(**more):
        content = api.ask("GET", "/event/received", **query, **more)["content"]
        assert content["totalItems"] == 120
        return [each["id"] for each in content["items"]]

    assert page(itemsPerPage=10**9) == list(range(120, 20, -1))
    assert page(itemsPerPage=10**9, pageIndex=1) == list(range(20, 0, -1))
    for wrong in ({"pageIndex": 10**18}, {"pageIndex": -1}, {"itemsPerPage": -5}, {"itemsPerPage": 0}):
        assert page(**wrong) == [120, 119, 118, 117, 116]
    assert page(activeSort="request", order="sideways") == [120, 119, 118, 117, 116]
    assert page(pageIndex=2**31 - 1, itemsPerPage=100) == []


class CostOnSqlite:
    """Counts the steps of SQLite's machine."""

    def of(self, connection, run):
        steps = []
        plain = connection.connection.driver_connection
        plain.set_progress_handler(lambda: steps.append(1), 10)
        try:
            run()
        finally:
            plain.set_progress_handler(None, 0)
        return len(steps)


class CostOnPostgresql:
    """Counts the rows and pages that PostgreSQL looks at."""

    def of(self, connection, run):
        seen = []

        def note(connection, cursor, statement, parameters, context, executemany):
            seen.append((statement, parameters))

        event.listen(connection, "before_cursor_execute", note)
        run()
        event.remove(connection, "before_cursor_execute", note)
        return sum(self._of_statement(connection, *each) for each in seen)

    def _of_statement(self, connection, statement, parameters):
        found = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
        plan = found.scalar_one()[0]["Plan"]
        return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] + self._rows(plan)

    def _rows(self, plan):
        inner = sum(self._rows(each) for each in plan.get("Plans", []))
        return inner + plan["Actual Rows"] * plan["Actual Loops"]


def test_every_page_costs_at_most_twice_as_much_as_the_first(api):
    """What the database does is counted, so that it does not matter what else the machine is doing."""
    log, number = Log(api), 12_000
    first, second, third = log.contracts
    ends = ["processed"] * 12 + ["error", "aborted", "retried", None]
    log.add(
        [
            {"id": n, "event": kind, "seconds": n, "ends": [ends[n % 16]] * len(log.contracts[kind])}
            for n in range(1, number + 1)
            for kind in [(first, second, third)[n % 3]]
        ]
    )
    if not api.database.is_sqlite:
        with api.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE eventhos_received, eventhos_executions")
    reader = EventLog(encryption(api), EventhosSettings())
    cost = CostOnSqlite() if api.database.is_sqlite else CostOnPostgresql()
    half = {"since": log.time(number // 4), "until": log.time(3 * number // 4)}
    filters = [
        {},
        half,
        {"system": log.systems[first]},
        {"identifier": log.identifiers[second]},
        *({"state": state} for state in ENDS if state),
        {"system": log.systems[first], **half},
        {"state": "processed", **half},
        {"state": "processed", "system": log.systems[first]},
        {"state": "error", "identifier": log.identifiers[first], **half},
    ]
    for wanted in filters:

        def of_page(index, wanted=wanted):
            paging = Paging(index, 10, received.c.id, received.c.id, descending=True)
            pages = []
            with api.database.read() as connection:
                spent = cost.of(connection, lambda: pages.append(reader.page(connection, Filter(**wanted), paging)))
            return spent, pages[0]

        at_first, page = of_page(0)
        last = page["totalPages"] - 1
        assert last >= 5, wanted
        for index in (last // 10, last // 3, last // 2, last):
            spent, page = of_page(index)
            assert page["items"]
            assert spent < 2 * at_first, (wanted, index, at_first)
