"""Tokens of actions: OAuth 2.0 client credentials (RFC 6749, section 4.4), kept until they expire."""

import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

import orjson

from extension_kit.protocol import CallFailed, HttpCalls

from .bounded_cache import BoundedCache
from .masking import MASK
from .nesting import write_nested
from .rows import iso

START_DATE = "eventhosStartDate"
"""Header of all calls: the time of the call."""

_MOST_TOKENS = 1000
_MOST_BYTES = 64 * 1024
_EARLY = 10.0  # seconds before the end of a token when a new one is fetched
_LONGEST = 86400.0  # seconds; a system may refuse a token before its end by other statuses than 401
_SECONDS = re.compile("[0-9]{1,18}")
_NAMES = frozenset({"access_token", "refresh_token", "id_token"})


class Token(NamedTuple):
    """A token as templates see it.

    Attributes:
        response: ``headers`` and ``body`` of the token endpoint's answer.
        is_fresh: True if it was fetched for this call.
    """

    response: dict[str, Any]
    is_fresh: bool

    @property
    def secrets(self) -> set[str]:
        """The texts of the answer that are tokens, and so must not be in the log."""
        return set(_tokens(self.response["body"]))


class Tokens:
    """Fetches tokens, and keeps those whose lifetime is known.

    Args:
        http: makes requests.
    """

    def __init__(self, http: HttpCalls) -> None:
        self._http = http
        self._kept: BoundedCache[tuple[float, dict[str, Any]]] = BoundedCache(_MOST_TOKENS)

    def get(self, key: Any, security: Mapping[str, str], sent: dict[str, Any], ends_at: float) -> Token:
        """Return the token of an action.

        Args:
            key: of the action.
            security: ``url``, ``clientId`` and ``clientSecret``.
            sent: gets the request for the token, without its secret, if one is made.
            ends_at: moment of ``time.monotonic`` until which the answer has to come.

        Raises:
            CallFailed: the token endpoint did not answer, or with an error.
        """
        if (kept := self._kept.get(key)) is not None and time.monotonic() < kept[0]:
            return Token(kept[1], is_fresh=False)
        response = self._fetch(security, sent, ends_at)
        lifetime = _lifetime(response["body"])
        if lifetime > _EARLY:
            self._kept.put(key, (time.monotonic() + lifetime - _EARLY, response))
        return Token(response, is_fresh=True)

    def drop(self, key: Any) -> None:
        """Forget the token of an action, which its system has refused."""
        self._kept.drop(key)

    def _fetch(self, security: Mapping[str, str], sent: dict[str, Any], ends_at: float) -> dict[str, Any]:
        form = {
            "client_id": security["clientId"],
            "client_secret": security["clientSecret"],
            "grant_type": "client_credentials",
        }
        headers = {
            "Accept": "application/json",
            START_DATE: iso(datetime.now(UTC)),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        sent.clear()
        sent.update(method="POST", url=security["url"], headers=headers, body={**form, "client_secret": MASK})
        answer = self._http.call(
            "POST",
            security["url"],
            headers=headers,
            body=urlencode(form).encode(),
            timeout=ends_at - time.monotonic(),
            limit=_MOST_BYTES,
        )
        if not 200 <= answer.status < 300:
            raise CallFailed(f"the token endpoint answered {answer.status}")
        if not answer.complete:
            raise CallFailed(f"the token endpoint answered more than {_MOST_BYTES} bytes")
        try:
            body: Any = orjson.loads(answer.body)
            write_nested(body)
        except orjson.JSONDecodeError:
            raise CallFailed("the token endpoint answered no JSON") from None
        except TypeError:
            raise CallFailed("the answer of the token endpoint is nested too deep") from None
        return {"headers": {name.lower(): value for name, value in answer.headers}, "body": body}


def _lifetime(body: Any) -> float:
    """Return the seconds that a token is valid for, as a number or a text of digits, but a day at most; 0: unknown."""
    found = body.get("expires_in") if isinstance(body, dict) else None
    if isinstance(found, str) and _SECONDS.fullmatch(found):
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return 0.0
    return min(float(found), _LONGEST)


def _tokens(value: Any) -> Iterator[str]:
    """Find the tokens in an answer, at any depth."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key in _NAMES and isinstance(each, str) and each:
                yield each
            yield from _tokens(each)
    elif isinstance(value, list):
        for each in value:
            yield from _tokens(each)
