"""Lists as variables of statements, whose text then does not depend on the number of values."""

# ruff: noqa: S608 (only compiled names are put into statements)

import json
from typing import Any

from sqlalchemy import Boolean, Column, Dialect, Text, TypeDecorator, bindparam
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine


class IsAnyOf(ColumnElement[bool]):
    """Condition that a column has one of the values of a list, which is a variable of a ``PreparedStatement``.

    Args:
        column: of texts or whole numbers.
        name: of the variable.
    """

    inherit_cache = False
    type = Boolean()
    _is_implicitly_boolean = True  # else SQLite gets "... = 1", for which it uses no index

    def __init__(self, column: Column[Any], name: str) -> None:
        self.column = column
        self.values = bindparam(name, type_=_List(column.type))


class _List(TypeDecorator[list[Any]]):
    """A list: JSON on SQLite, an array on PostgreSQL."""

    impl = Text
    cache_ok = False

    def __init__(self, of: TypeEngine[Any]) -> None:
        super().__init__()
        self._of = of

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(self._of))

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> Any:
        return json.dumps(value) if dialect.name == "sqlite" else value


@compiles(IsAnyOf, "sqlite")
def _on_sqlite(element: IsAnyOf, compiler: SQLCompiler, **options: Any) -> str:
    column, values = compiler.process(element.column, **options), compiler.process(element.values, **options)
    return f"{column} IN (SELECT value FROM json_each({values}))"


@compiles(IsAnyOf, "postgresql")
def _on_postgresql(element: IsAnyOf, compiler: SQLCompiler, **options: Any) -> str:
    column, values = compiler.process(element.column, **options), compiler.process(element.values, **options)
    return f"{column} = ANY({values})"
