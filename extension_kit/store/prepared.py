"""Prepared statements: compiled once by SQLAlchemy, executed by the driver, which is much faster for every attempt."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ClauseElement, Connection, Dialect, Select
from sqlalchemy.types import TypeEngine

Convert = Callable[[Any], Any]

_FLOAT8 = 701  # PostgreSQL's type of Float columns: those of others are not asked for


class _Compiled(NamedTuple):
    """Compiled for one dialect: text, constants, order of unnamed variables, and conversions."""

    text: str
    constants: Mapping[str, Any]
    order: Sequence[str] | None
    binds: Mapping[str, Convert]
    columns: Sequence[Convert | None]
    converts: bool

    def converted(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a row of the driver with the types of its columns."""
        if not self.converts:
            return row
        return tuple(
            value if convert is None else convert(value) for value, convert in zip(row, self.columns, strict=True)
        )


class PreparedStatement:
    """A statement with variables given by name.

    Args:
        statement: its text must not depend on the values.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._by_dialect: dict[str, _Compiled] = {}

    def rowcount(self, connection: Connection, **values: Any) -> int:
        """Execute within the transaction of the connection, and return the number of changed rows."""
        number: int = self._execute(connection, values)[0].rowcount
        return number

    def first(self, connection: Connection, **values: Any) -> tuple[Any, ...] | None:
        """Execute, and return the first row, or None without any."""
        cursor, compiled = self._execute(connection, values)
        row: tuple[Any, ...] | None = cursor.fetchone()
        cursor.close()
        return row if row is None else compiled.converted(row)

    def all(self, connection: Connection, **values: Any) -> list[tuple[Any, ...]]:
        """Execute, and return all rows."""
        cursor, compiled = self._execute(connection, values)
        return [compiled.converted(row) for row in cursor.fetchall()]

    def _execute(self, connection: Connection, variables: dict[str, Any]) -> tuple[Any, _Compiled]:
        compiled, given = self._bound(connection.dialect, variables)
        driver: Any = connection.connection.driver_connection
        return driver.execute(compiled.text, given), compiled

    def _bound(self, dialect: Dialect, variables: dict[str, Any]) -> tuple[_Compiled, Any]:
        """Return the compiled statement, and the values of its variables as the driver takes them."""
        compiled = self._by_dialect.get(dialect.name)
        if compiled is None:
            compiled = self._by_dialect[dialect.name] = _compile(self._statement, dialect)
        values = {**compiled.constants, **variables}
        for name, convert in compiled.binds.items():
            values[name] = convert(values[name])
        return compiled, values if compiled.order is None else [values[name] for name in compiled.order]


def _compile(statement: ClauseElement, dialect: Dialect) -> _Compiled:
    compiled: Any = statement.compile(dialect=dialect)
    binds = {name: _impl(bind.type, dialect).bind_processor(dialect) for name, bind in compiled.binds.items()}
    columns = statement.selected_columns if isinstance(statement, Select) else ()
    converts = [_impl(column.type, dialect).result_processor(dialect, _FLOAT8) for column in columns]
    return _Compiled(
        str(compiled),
        {name: bind.value for name, bind in compiled.binds.items() if not bind.required},
        compiled.positiontup,
        {name: convert for name, convert in binds.items() if convert},
        converts,
        any(converts),
    )


def _impl(kind: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    return kind.dialect_impl(dialect)
