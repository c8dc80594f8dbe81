"""Tags of annotations, within the limits of Grafana.

Grafana splits a tag at its first colon into a name and a value, drops the rest from the second colon on, and stores at
most 100 characters of each. It refuses an annotation whose tags are longer than 500 bytes in all, as a JSON list, by
default (``tags_length`` in its configuration). So colons in values become dots, values are cut, and tags that no longer
fit are left out, the least important first.
"""

from collections.abc import Iterable

MOST_BYTES = 500
"""Maximum size of all tags of an annotation."""

MOST_OWN_TAGS_BYTES = 150
"""Maximum size of the tags of the settings, so that those that identify an annotation always fit."""

_MOST_VALUE_BYTES = 40
_MOST_TAG_BYTES = 100
_REPLACED = str.maketrans({":": ".", '"': "'", "\\": "/", ",": " "})


def tag(name: str, value: object) -> str | None:
    """Return a tag ``name:value``; None where the value is missing or empty."""
    text = _tidy(str(value), _MOST_VALUE_BYTES) if value is not None else ""
    return f"{name}:{text}" if text else None


def own_tag(text: str) -> str | None:
    """Return a tag of the settings as Grafana stores it; None for one that it would drop."""
    name, colon, value = (_tidy(part, _MOST_TAG_BYTES) if part != ":" else part for part in text.partition(":"))
    return (f"{name}:{value}" if colon and value else name) or None


def fitting(tags: Iterable[str | None]) -> tuple[str, ...]:
    """Return the tags that fit into an annotation, each once.

    Args:
        tags: the most important first; None stands for a missing one.
    """
    chosen: list[str] = []
    for each in tags:
        if each is not None and each not in chosen and size_of([*chosen, each]) <= MOST_BYTES:
            chosen.append(each)
    return tuple(chosen)


def size_of(tags: Iterable[str]) -> int:
    """Return the bytes of tags as a JSON list, as Grafana counts them."""
    sizes = [len(each.encode()) + len('"",') for each in tags]
    return sum(sizes) + len("[]")


def _tidy(text: str, most_bytes: int) -> str:
    """Return a text without line breaks and the characters that Grafana treats in a way of its own, cut to its room."""
    printable = "".join(char if char.isprintable() else " " for char in text.translate(_REPLACED))
    return printable.strip().encode()[:most_bytes].decode(errors="ignore").strip()
