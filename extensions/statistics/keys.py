"""Keys of the state: which run or number they belong to, and its labels."""

from collections.abc import Mapping, Sequence

_BETWEEN_PARTS, _BETWEEN_LABELS = "\x1f", "\x1e"  # no label has them: its values are printable
_MOST_CHARACTERS = 60  # of a value

Labels = tuple[tuple[str, str], ...]
"""Names of labels with their values."""

Numbers = Mapping[Labels, Mapping[tuple[str, ...], float]]
"""Numbers of a kind, by labels and by the rest of their keys."""


def printable(value: str | None) -> str:
    """Return a value that a label can have."""
    return "".join(filter(str.isprintable, value or ""))[:_MOST_CHARACTERS]


def make_key(kind: str, labels: Labels, *rest: str) -> str:
    """Return the key of a kind of number, with its labels and the rest that tells it from others of its kind."""
    return _BETWEEN_PARTS.join((kind, _BETWEEN_LABELS.join(f"{name}={value}" for name, value in labels), *rest))


def read_key(key: str) -> tuple[str, Labels, Sequence[str]]:
    """Return the parts of a key."""
    kind, labels, *rest = key.split(_BETWEEN_PARTS)
    pairs = (label.partition("=") for label in labels.split(_BETWEEN_LABELS) if label)
    return kind, tuple((name, value) for name, _, value in pairs), rest


def of_kind(sums: Mapping[str, float], kind: str, names: Sequence[str]) -> Numbers:
    """Return the numbers of a kind by labels and by the rest of their keys.

    Args:
        sums: the numbers by key.
        kind: the kind.
        names: names of labels; numbers with others were added under other settings and are left out.
    """
    found: dict[Labels, dict[tuple[str, ...], float]] = {}
    for key, number in sums.items():
        its_kind, labels, rest = read_key(key)
        if its_kind == kind and [name for name, _ in labels] == list(names):
            found.setdefault(labels, {})[tuple(rest)] = number
    return found
