"""Lists: the parts that pages with a filter and older pages have in common."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask import Response, make_response, redirect, request
from werkzeug.datastructures import MultiDict

LIMIT = 50
"""Rows of a page."""


class Arguments(dict[str, str]):
    """Arguments of a request's query; those that are missing are empty."""

    def __missing__(self, name: str) -> str:
        return ""


def tidy_address() -> Response | None:
    """Return a redirection to the present address without empty arguments, which forms send; None without any."""
    args = arguments()
    if len(args) == len(request.args):
        return None
    return make_response(redirect(f"{request.path}?{urlencode(args)}" if args else request.path, 303))


def arguments() -> Arguments:
    """Return the arguments of the present request that are not empty, each with its first value."""
    given: MultiDict[str, str] = request.args
    return Arguments({name: value.strip() for name, value in given.items() if value.strip()})


def query_of(args: Mapping[str, str]) -> str:
    """Return the query of a list's address without the place in the list."""
    return urlencode({name: value for name, value in args.items() if name not in ("before", "limit")})


def places(path: str, args: Mapping[str, str], next: str | None) -> dict[str, Any]:
    """Return the addresses of a list's newest and next older page, for the template's pager.

    Args:
        path: of the list.
        args: of the present page.
        next: cursor of the next older page; None without one.
    """
    query = query_of(args)
    first = f"{path}?{query}" if query else path
    older = f"{path}?{urlencode({**{n: v for n, v in args.items() if n != 'before'}, 'before': next})}" if next else ""
    return {"query": query, "args": args, "first": first if "before" in args else "", "older": older}
