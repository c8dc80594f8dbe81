"""Answers to the requests of functions: a success, and the exceptions for all others."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

import orjson
from urllib3 import HTTPHeaderDict

from extension_kit.errors import GiveUp, NotReady, RetryLater
from extension_kit.observability.redaction import redact_text
from extension_kit.senders import REFUSES_CREDENTIALS
from extension_kit.senders.excerpts import excerpt, retry_after
from extension_kit.senders.http import MAX_RETRY_AFTER
from extension_kit.senders.http_calls import Answer, CallFailed

MAX_ANSWER = 1024 * 1024
"""Maximum bytes of an answer's body; more is not read."""

_RETRIED = (408, 425, 429)  # and those from 500 on
_ASKS_TO_WAIT = (429, 503)
_LONG_WORDS = re.compile(r"[^\s/?&=:;,\"'{}\[\]\\]{16,}")  # of a request's body, such as keys


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request.

    Attributes:
        status: its status.
        headers: its headers by name, in any case of letters; values of a repeated header are joined by commas.
        content: the bytes of its body, at most ``MAX_ANSWER``.
        is_complete: False if the body is longer, so that ``content`` is only its beginning.
        host: the host that answered, for errors.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    is_complete: bool
    host: str

    @property
    def text(self) -> str:
        """The body as text, in the character set that ``Content-Type`` names, else UTF-8."""
        head = Message()
        head["Content-Type"] = self.headers.get("Content-Type", "")
        try:
            return self.content.decode(head.get_content_charset("utf-8"), errors="replace")
        except LookupError:  # no known character set
            return self.content.decode(errors="replace")

    def json(self) -> Any:
        """Return the decoded body.

        Raises:
            CallFailed: the body is not JSON, or longer than ``MAX_ANSWER``.
        """
        if not self.is_complete:
            raise CallFailed(f"{self.host} answered {self.status} with more than {MAX_ANSWER} bytes: ask for less")
        try:
            return orjson.loads(self.content)
        except orjson.JSONDecodeError:
            message = f"{self.host} answered {self.status}, but not in JSON: check that the URL leads to its API"
            raise CallFailed(message) from None


def words_of(content: bytes | None) -> set[str]:
    """Return the words of a body that may be secrets, which an answer may repeat."""
    return set(_LONG_WORDS.findall((content or b"")[:MAX_ANSWER].decode(errors="replace")))


def failure(host: str, answer: Answer, secrets: set[str]) -> Exception:
    """Return the exception for an answer that is no success, for calls that are not made by a client of the kit.

    Args:
        host: the host that answered.
        answer: its answer.
        secrets: texts of the request that no message may repeat.
    """
    said = redact_text(excerpt(answer.body, secrets) or "")
    status, says = answer.status, f": {said}" if said else ""
    if status in REFUSES_CREDENTIALS:
        return NotReady(f"{host} refuses the credentials ({status}){says}")
    problem = f"{host} answered {status}{says}"
    if status in _ASKS_TO_WAIT:
        seconds = retry_after(HTTPHeaderDict(answer.headers).get("Retry-After", ""), MAX_RETRY_AFTER)
        if seconds is not None:
            return RetryLater(seconds, problem)
    if status in _RETRIED or status >= 500:
        return CallFailed(problem)
    if 300 <= status < 400:
        return GiveUp(f"{host} answered {status}, and redirects are not followed: use the URL that it leads to{says}")
    return GiveUp(problem)
