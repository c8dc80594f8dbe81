"""Used databases and schemas of PostgreSQL, which the next test finds as new: to empty one is quicker than to make one.

One in which a test has made, changed or removed anything but rows is not given to another as it is.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from extension_kit.store.database import Database
from extension_kit.store.extension_tables import Tables
from extension_kit.store.migrate import upgrade
from extension_kit.store.version import TABLE
from tests.support.leftovers import new_name

_Connection = psycopg.Connection[tuple[Any, ...]]

# Whatever is changed in the catalog gets another xmin.
_SHAPE = """
    WITH class AS (SELECT oid, xmin FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
    SELECT md5(string_agg(entry, ',' ORDER BY entry)) FROM (
        SELECT 'class ' || oid || ' ' || xmin AS entry FROM class
        UNION ALL SELECT 'column ' || attrelid || ' ' || attnum || ' ' || xmin FROM pg_attribute
            WHERE attrelid IN (SELECT oid FROM class)
        UNION ALL SELECT 'trigger ' || oid || ' ' || xmin FROM pg_trigger
            WHERE tgrelid IN (SELECT oid FROM class)
        UNION ALL SELECT 'constraint ' || oid || ' ' || xmin FROM pg_constraint
            WHERE connamespace = current_schema()::regnamespace
        UNION ALL SELECT 'function ' || oid || ' ' || xmin FROM pg_proc
            WHERE pronamespace = current_schema()::regnamespace
    ) AS entries
"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
_START_AGAIN = """
    SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence JOIN pg_class ON pg_class.oid = seqrelid
    WHERE relnamespace = current_schema()::regnamespace
"""
_SIZE = """
    SELECT sum(pg_total_relation_size(oid)) FROM pg_class
    WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
"""
_MOST_BYTES = 1024**2  # of deleted rows, which make queries slow


class Made(NamedTuple):
    """All but rows that there is in the current schema of a connection, and how large it is."""

    shape: list[tuple[Any, ...]]
    size: int = 0


def connect(url: str) -> _Connection:
    """A connection to what a URL of SQLAlchemy names."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True)


def look(connection: _Connection) -> Made:
    """The current schema as it is, with the versions of the tables."""
    found = connection.execute(_SHAPE).fetchall()
    for (name,) in sorted(connection.execute(_TABLES).fetchall()):
        if name.startswith(TABLE):
            found += connection.execute(sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(name))).fetchall()
    return Made(found, int(connection.execute(_SIZE).fetchall()[0][0] or 0))


def as_made(connection: _Connection, made: Made) -> bool:
    """Delete all rows of the current schema, if it is as it was made. TRUNCATE would take a hundred times as long.

    Returns:
        False if more than rows has been changed, or if it has become large; nothing is deleted then.
    """
    found = look(connection)
    if found.shape != made.shape or found.size > made.size + _MOST_BYTES:
        return False
    names = [sql.Identifier(name) for (name,) in connection.execute(_TABLES).fetchall() if not name.startswith(TABLE)]
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '20s'")
        connection.execute("SET LOCAL session_replication_role = replica")  # tables in any order, without triggers
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.SQL(", ").join(names)))
        for name in names:
            connection.execute(sql.SQL("DELETE FROM {}").format(name))
        connection.execute(_START_AGAIN)
    return True


_EMPTY = Made([])


class _Idle(NamedTuple):
    name: str
    made: Made


_idle: dict[tuple[str, tuple[str, ...] | None], list[_Idle]] = defaultdict(list)
"""Databases that no test uses, by server and extensions; None: without tables. They are dropped with the leftovers."""


@contextmanager
def postgresql_database(server: str, tables: Sequence[Tables] | None = None) -> Iterator[str]:
    """The URL of a database that is given to another test afterwards, under another name.

    Args:
        server: its URL.
        tables: of extensions, beside those of the kit and of the queue; None: the database is empty.
    """
    kind = (server, None if tables is None else tuple(each.name for each in tables))
    with psycopg.connect(server, autocommit=True) as connection:
        idle = _take(connection, server, kind, tables)
        try:
            yield _url(server, idle.name)
        finally:
            _give_back(connection, server, kind, idle)


def _url(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _take(
    server_connection: _Connection,
    server: str,
    kind: tuple[str, tuple[str, ...] | None],
    tables: Sequence[Tables] | None,
) -> _Idle:
    if _idle[kind]:
        return _idle[kind].pop()
    if tables is None:
        name = new_name()
        server_connection.execute(f"CREATE DATABASE {name}")
        return _Idle(name, _EMPTY)
    name, _ = _take(server_connection, server, (server, None), None)
    database = Database(_url(server, name))
    try:
        upgrade(database, tables)
    finally:
        database.dispose()
    with connect(_url(server, name)) as connection:
        return _Idle(name, look(connection))


def _give_back(
    server_connection: _Connection, server: str, kind: tuple[str, tuple[str, ...] | None], idle: _Idle
) -> None:
    """Empty a database under a new name: a process that is left over finds it no more."""
    name = new_name()
    of_others = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"
    server_connection.execute(of_others, [idle.name])
    try:
        server_connection.execute(f"ALTER DATABASE {idle.name} RENAME TO {name}")
    except psycopg.errors.ObjectInUse:
        server_connection.execute(f"DROP DATABASE {idle.name} WITH (FORCE)")
        return
    with connect(_url(server, name)) as connection:
        if kind[1] is not None and as_made(connection, idle.made):
            _idle[kind].append(idle._replace(name=name))
            return
        schemas = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        for (schema,) in connection.execute(schemas).fetchall():
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
        connection.execute("CREATE SCHEMA public")
    _idle[server, None].append(_Idle(name, _EMPTY))
