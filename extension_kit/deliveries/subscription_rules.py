"""Rules for subscriptions: invalid values are refused before they are stored, with a reason for each key."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.sender_pool import PROTOCOL
from extension_kit.deliveries.subscription_matching import MAX_PATTERN
from extension_kit.errors import ExtensionKitError, RegistrationError
from extension_kit.events.patterns import check_pattern

MAX_PATTERNS = 1000
"""Maximum number of patterns of a subscription."""

MAX_GROUP = 230
"""Maximum length of a group's name, from which its subscriptions' names are made."""

_LENGTHS = {"protocol": 64, "name": 255, "group": MAX_GROUP, "subject": 255, "scope": 255}
_OPTIONAL = {"group": None, "subject": None, "scope": ""}


class SubscriptionError(ExtensionKitError):
    """A subscription has invalid values.

    Args:
        problems: a sentence for each invalid key; keys of the target are written ``target.url``.
        place: of the target in its group, from 0; None for a subscription without a group.
    """

    def __init__(self, problems: dict[str, str], place: int | None = None) -> None:
        super().__init__("; ".join(f"{key}: {problem}" for key, problem in problems.items()))
        self.problems = problems
        self.place = place


def find_problems(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a sentence for each invalid key of a subscription. The target is not checked: its sender does that."""
    problems = {
        key: f"A text of 1 to {longest} characters is needed."
        for key, longest in _LENGTHS.items()
        if not (_is_text(row[key], longest) or (key in _OPTIONAL and row[key] == _OPTIONAL[key]))
    }
    if problem := _problem_of_patterns(row["patterns"], least=0 if row["sender"] == PROTOCOL else 1):
        problems["patterns"] = problem
    try:
        RetrySchedule.of(row["retry"])
    except RegistrationError as error:
        problems["retry"] = str(error)
    expires_at = row["expires_at"]
    if expires_at is not None and (not isinstance(expires_at, datetime) or expires_at.utcoffset() is None):
        problems["expires_at"] = "A time with its offset from UTC is needed."
    return problems


def _problem_of_patterns(patterns: object, least: int) -> str | None:
    if not isinstance(patterns, list | tuple) or not least <= len(patterns) <= MAX_PATTERNS:
        return f"A list of {least} to {MAX_PATTERNS} patterns is needed."
    for pattern in patterns:
        if not _is_text(pattern, MAX_PATTERN):
            return f"{pattern!r:.80}: a text of 1 to {MAX_PATTERN} characters is needed."
        try:
            check_pattern(pattern)
        except RegistrationError as error:
            return str(error)
    return None


def _is_text(value: object, longest: int) -> bool:
    """Return True if both stores can keep a value as a text."""
    return isinstance(value, str) and 0 < len(value) <= longest and "\x00" not in value
