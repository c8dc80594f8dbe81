"""Masking: hides the values of secret keys in e-mails and the event log."""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any
from urllib.parse import quote

MASK = "****"
"""Text in place of a secret value."""


def masked(value: Any, names: tuple[str, ...]) -> Any:
    """Return a JSON value with the values of some keys masked, at every depth.

    Texts are masked like URLs: the value of ``key=...`` ends at the next ``&``, ``#`` or blank. Any character of the
    key may be percent-encoded, and the key may be within brackets, as in ``user[key]=...``. In texts that hold JSON,
    texts and numbers after ``"key":`` are masked.

    Args:
        value: the value.
        names: keys in lower case; other letter cases are masked, too.
    """
    return _masked(value, frozenset(names), _in_texts(names)) if names else value


def without(value: Any, secrets: Collection[str]) -> Any:
    """Return a JSON value whose texts have secrets masked, also those that are percent-encoded."""
    if not secrets:
        return value
    forms = sorted({form for secret in secrets for form in (secret, quote(secret, safe=""))}, key=len, reverse=True)
    return _without(value, re.compile("|".join(map(re.escape, forms))))


def _without(value: Any, secret: re.Pattern[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(each, secret) for key, each in value.items()}
    if isinstance(value, list):
        return [_without(each, secret) for each in value]
    return secret.sub(MASK, value) if isinstance(value, str) else value


def _masked(value: Any, names: frozenset[str], in_texts: re.Pattern[str]) -> Any:
    if isinstance(value, dict):
        return {key: MASK if key.lower() in names else _masked(each, names, in_texts) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, names, in_texts) for each in value]
    if isinstance(value, str):
        return in_texts.sub(lambda found: f"{found[1]}{MASK}" if found[1] else f'{found[2]}"{MASK}"', value)
    return value


@lru_cache(8)  # the setting is the same for a process's life
def _in_texts(names: tuple[str, ...]) -> re.Pattern[str]:
    plain = "|".join(map(re.escape, names))
    encoded = "|".join("".join(map(_encoded_or_not, name)) for name in names)
    in_url = rf"(?:(?<!\w)|(?<=%[0-9a-f]{{2}}))((?:{encoded})(?:[\[\]]|%5[bd])*(?:=|%3d))[^&\s#]*"
    in_json = rf'("(?:{plain})"\s*:\s*)(?:"(?:[^"\\]|\\.)*"?|[^\s"{{}}\[\],]+)'
    return re.compile(f"(?i:{in_url}|{in_json})")


def _encoded_or_not(character: str) -> str:
    forms = sorted({character.lower(), character.upper()})
    encoded = ("".join(f"%{byte:02x}" for byte in form.encode()) for form in forms)
    return f"(?:{'|'.join([re.escape(character), *encoded])})"
