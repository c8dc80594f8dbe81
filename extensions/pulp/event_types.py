"""Event types: Pulp's own, and names of other systems' events that a server adds to them (Pulp 2, event docs)."""

import difflib
from collections.abc import Sequence

from extension_kit.protocol import PatternIndex, SettingError

PULP_TYPES = ("repo.sync.start", "repo.sync.finish", "repo.publish.start", "repo.publish.finish")
"""The event types of every release of Pulp 2."""

ANY = "*"
"""The entry of ``event_types`` that stands for all types of the server."""


def all_types(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return Pulp's types and those that a server adds.

    Args:
        wanted: names and patterns of other systems' events.
        known: names of the events that can arrive here, and patterns of those without a closed list.

    Raises:
        SettingError: no event of a wanted name can arrive here, or a pattern stands for no known name.
    """
    names = [name for name in known if ANY not in name]
    patterns = [name for name in known if ANY in name]
    added: dict[str, None] = dict.fromkeys(PULP_TYPES)
    for each in wanted:
        found = [name for name in names if _is_matched(name, [each])]
        if not found and ANY not in each and _is_matched(each, patterns):
            found = [each]
        if not found:
            near = difflib.get_close_matches(each, names, n=1)
            hint = f", did you mean {near[0]}?" if near else ": name events of Steadybit or of an extension served here"
            raise SettingError(f"EXTENSION_PULP_EVENT_TYPES names {each}, which no known event matches{hint}")
        added.update(dict.fromkeys(found))
    return tuple(added)


def expand(event_types: Sequence[str], types: Sequence[str]) -> list[str]:
    """Return the event names that a listener wants: all types for ``*``, else those that it names."""
    return list(types) if ANY in event_types else list(dict.fromkeys(event_types))


def _is_matched(name: str, patterns: Sequence[str]) -> bool:
    index: PatternIndex[bool] = PatternIndex()
    index.add(patterns, True)
    return bool(index.match(name))
