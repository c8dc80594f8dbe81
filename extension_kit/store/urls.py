"""Database URLs: parsed and checked at the start; errors name the mistake without secrets."""

import re

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from extension_kit.errors import SettingError
from extension_kit.settings.declare import Refusal
from extension_kit.settings.kinds import DATABASE_URL

_SCHEMA = "write ?options=-csearch_path%3DNAME"
_INSTEAD = {
    "schema": _SCHEMA,
    "currentSchema": _SCHEMA,
    "search_path": _SCHEMA,
    "pgbouncer": "leave it out, as poolers are recognised",
    "ssl": "write ?sslmode=require",
}
_SEVERAL_HOSTS = "postgresql://USER:PASSWORD@/DATABASE?host=HOST1:PORT1&host=HOST2:PORT2"


def parsed(text: str) -> URL:
    """Parse a database URL.

    Raises:
        SettingError: the URL cannot be used.
    """
    try:
        return _parsed(text)
    except Refusal as refusal:
        raise SettingError(f"this database URL cannot be used: {refusal}") from None
    except (ValueError, ArgumentError, psycopg.Error):
        raise SettingError(f"this database URL cannot be used: {DATABASE_URL.allowed} is allowed") from None


def _parsed(text: str) -> URL:
    known = DATABASE_URL.parse(text)
    if known.startswith("sqlite"):
        return make_url(known)
    if re.search(r":\d+,", known.partition("://")[2].partition("/")[0].rpartition("@")[2]):
        raise Refusal(f"several hosts with ports are written {_SEVERAL_HOSTS}")
    url = make_url(known)
    options = {option.keyword.decode() for option in Conninfo.get_defaults()}
    for name in url.query:
        if name not in options:
            shown = name if re.fullmatch(r"\w{1,40}", name) else "one of its parameters"
            advice = _INSTEAD.get(name, "leave it out, or write one of libpq's parameters, such as ?sslmode=require")
            raise Refusal(f"{shown} is no parameter of PostgreSQL's: {advice}")
    make_conninfo(**url.get_dialect()().create_connect_args(url)[1])
    # With an @ in the password not written as %40, the rest of the password would be taken for the host, and shown.
    if "@" in f"{url.host}{url.database}":
        raise ValueError
    return url
