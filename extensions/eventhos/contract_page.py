"""Page of the event log with the contracts: their events and actions, and their last executions on a time line."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, select

from extension_kit.protocol import BadPlace, Cell, LogTable, Status, TimeBar, TimeBars

from .contracts import search
from .settings import EventhosSettings
from .tables import LARGEST_ID, contracts, executions

MOST_EXECUTIONS = 5000
"""Executions that are looked at, the newest of all contracts; the log has no index that finds those of one."""

MOST_SHOWN = 200
"""Executions of a contract that are shown, the newest."""

MOST_PENDING = 1000
"""Executions of a contract without an end that are counted at most."""

_PERIOD = timedelta(hours=24)
_COLUMNS = (
    "Contract",
    "Event",
    "From",
    "Action",
    "To",
    "State",
    "Order",
    "Not ended",
    "Last execution",
    "Last begun",
    "Executions of the last 24 hours",
)


def read_contracts(connection: Connection, settings: EventhosSettings, before: str | None, limit: int) -> LogTable:
    """Read a page of contracts, newest first."""
    query = search("").order_by(contracts.c.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(contracts.c.id < _place(before))
    found = connection.execute(query).all()
    shown = found[:limit]
    end = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(
        minutes=1
    )  # the page stays the same until then
    newest = _find_newest(connection, {row.id for row in shown}, end - _PERIOD)
    pending = {row.id: _count_pending(connection, row.id) for row in shown}
    return LogTable(
        _COLUMNS,
        [_cells(row, pending[row.id], newest.bars[row.id]) for row in shown],
        next=str(shown[-1].id) if len(found) > limit else None,
        period=(end - _PERIOD, end),
        note=f"Of all contracts, the {MOST_EXECUTIONS:,} newest executions are shown." if newest.is_cut else "",
    )


def _place(place: str) -> int:
    if not (place.isascii() and place.isdigit()) or len(place) > len(str(LARGEST_ID)) or int(place) > LARGEST_ID:
        raise BadPlace
    return int(place)


class _Newest(NamedTuple):
    """The begins of executions by contract, oldest first, as bars; and if there may be more in the time they are of."""

    bars: dict[int, list[TimeBar]]
    is_cut: bool


def _find_newest(connection: Connection, wanted: set[int], since: datetime) -> _Newest:
    # Columns before the request and the response only: those behind these long values take much longer to read.
    columns = executions.c.contract, executions.c.state, executions.c.started_at, executions.c.aborted
    query = select(*columns, executions.c.retried).order_by(executions.c.id.desc()).limit(MOST_EXECUTIONS)
    rows = connection.execute(query).all()
    bars: dict[int, list[TimeBar]] = {contract: [] for contract in wanted}
    for row in rows:
        if row.contract in wanted and row.started_at is not None and row.started_at >= since:
            bars[row.contract].append(TimeBar(row.started_at, row.started_at, _state(row)))
    begun = [row.started_at for row in rows if row.started_at is not None]
    is_cut = len(rows) == MOST_EXECUTIONS and bool(begun) and begun[-1] >= since
    return _Newest({contract: some[MOST_SHOWN - 1 :: -1] for contract, some in bars.items()}, is_cut)


def _state(row: Any) -> str:
    if row.state is None:
        return "running"
    return "aborted" if row.aborted else "retried" if row.retried else str(row.state)


def _count_pending(connection: Connection, contract: int) -> int | str:
    some = select(executions.c.id).where(executions.c.contract == contract, executions.c.state.is_(None))
    counted = some.limit(MOST_PENDING).subquery()
    number: int = connection.execute(select(func.count()).select_from(counted)).scalar_one()
    return number if number < MOST_PENDING else f"{number:,} or more"


def _cells(row: Row[Any], pending: int | str, bars: list[TimeBar]) -> tuple[Cell, ...]:
    last = bars[-1] if bars else None
    return (
        row.name,
        row.event_identifier,
        row.producer_name,
        row.action_identifier,
        row.consumer_name,
        Status("active" if row.active else "inactive"),
        row.order,
        pending,
        None if last is None else Status(last.state),
        None if last is None else last.begin,
        TimeBars(bars),
    )
