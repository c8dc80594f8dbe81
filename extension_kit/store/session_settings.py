"""Settings of PostgreSQL's sessions: given at their start or, behind a connection pooler, with each transaction."""

import re
from collections.abc import Iterator, Mapping

from psycopg import sql

from extension_kit.store.postgresql import PoolerUnfit

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_GIVEN = re.compile(r"(?:\\.|[^\s\\])+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class SessionSettings:
    """The settings of a session.

    Args:
        ours: values by name.
        given: further ones, as libpq's ``options`` has them; they override ours.
    """

    def __init__(self, ours: Mapping[str, str], given: str = "") -> None:
        self._ours = dict(ours)
        self._given = given

    @property
    def options(self) -> str:
        """All of them as libpq's ``options``."""
        ours = " ".join(f"-c {name}={_escaped(value)}" for name, value in self._ours.items())
        return f"{ours} {self._given}"

    def of_session(self) -> bytes:
        """Return the statements that set them for the rest of the session.

        Raises:
            PoolerUnfit: the given options are not settings only.
        """
        return self._statements(self._ours, is_local=False)

    def of_transaction(self) -> bytes:
        """Return the statements that set them within a transaction, which says itself how isolated it is.

        Raises:
            PoolerUnfit: the given options are not settings only.
        """
        ours = {name: value for name, value in self._ours.items() if not name.startswith("default_transaction_")}
        return self._statements(ours, is_local=True)

    def _statements(self, ours: Mapping[str, str], *, is_local: bool) -> bytes:
        # A call of set_config takes the server several times as long, but it divides lists, such as a search_path.
        set_one = sql.SQL("SET LOCAL {} TO {}" if is_local else "SET {} TO {}")
        call = sql.SQL("SELECT set_config({}, {}, {})")
        statements = [set_one.format(sql.Identifier(name), sql.Literal(value)) for name, value in ours.items()]
        statements += [call.format(name, value, is_local) for name, value in _parsed(self._given)]
        return sql.SQL("; ").join(statements).as_bytes()


def _escaped(value: str) -> str:
    return re.sub(r"([\s\\])", r"\\\1", value)


def _parsed(options: str) -> Iterator[tuple[str, str]]:
    """Return the names and values in libpq's options, written ``-c name=value``, ``-cname=value`` or ``--name=value``.

    Raises:
        PoolerUnfit: there is something else, or an incomplete option.
    """
    words = iter([_ESCAPED.sub(r"\1", word) for word in _GIVEN.findall(options)])
    for word in words:
        setting = next(words, "") if word == "-c" else word[2:] if word[:2] in ("-c", "--") else ""
        name, equals, value = setting.partition("=")
        name = name.replace("-", "_")
        if not equals or not _NAME.fullmatch(name):
            raise PoolerUnfit("of the options in the URL, it can only pass on settings, written -cNAME=VALUE")
        yield name, value
