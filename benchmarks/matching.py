"""How long it takes to find the listeners of an event name, however many listeners there are."""

import re
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import combinations, cycle
from statistics import median

from benchmarks.report import Report, Settings, microseconds, times
from benchmarks.timing import Case, interleaved, ratio
from extension_kit.events.patterns import MAX_INNER_WILDCARDS, MAX_PARTS, PatternIndex

_COUNTS = (1, 10, 1_000, 100_000)
_KNOWN = 15  # names that are asked for again and again: agents send about as many
_UNSEEN = [f"s0.c0.new-{number}" for number in range(20_000)]
"""More names than an index remembers: each of them is forgotten before its turn comes again."""


def run(settings: Settings) -> list[Report]:
    """Measure exact names, a mix of patterns, and patterns chosen to hurt."""
    counts = _COUNTS[:3] if settings.quick else _COUNTS
    rounds = 3 if settings.quick else 15
    kinds = {"exact names": exact, "mixed patterns": mixed}
    rows, samples = [], []
    with settings.progress("matching", len(kinds) * len(counts) + 1) as begin:
        for kind, make in kinds.items():
            for count in counts:
                begin(f"{count:,} {kind}")
                row, found = _measure(kind, make(count), rounds)
                rows.append(row)
                samples.append(found)
        begin("worst cases")
        worst = _worst_cases(rounds)
    seen = "seen: one of 15 names that come all the time; unseen: a name the index does not remember"
    linear = "linear scan: a compiled regular expression for each listener, as many projects do it"
    return [
        Report(
            "Matching an event name: us for each event (goals: <= 0.1 seen, <= 1 unseen)",
            ["listeners", "seen", "unseen", "linear scan", "scan / seen", "scan / unseen", "add, us each", "MiB"],
            rows,
            [seen, linear],
            samples,
        ),
        worst,
    ]


def exact(count: int) -> list[str]:
    return [f"s{number}.c{number}.d{number}" for number in range(count)]


def mixed(count: int) -> list[str]:
    """70 % exact names, the others patterns with ``*`` wherever it may stand; a few match every unseen name."""
    shapes = [(70, "s{0}.c{0}.d{0}"), (82, "s{0}.c{0}.*"), (90, "s{0}.*"), (95, "*.*.d{0}"), (98, "s{0}.*.d{0}")]
    patterns = ["*", "s0.c0.*", "s0.*"][:count]
    for number in range(len(patterns), count):
        shape = next((shape for limit, shape in shapes if number % 100 < limit), "*.c{0}.d{0}")
        patterns.append(shape.format(number))
    return patterns


def _measure(kind: str, patterns: list[str], rounds: int) -> tuple[list[str], dict[str, object]]:
    index, memory = _index(patterns)
    scan = linear_scan(patterns)
    step = max(1, len(patterns) // _KNOWN)
    known = [pattern.replace("*", "any") for pattern in (patterns * _KNOWN)[::step]][:_KNOWN]
    for name in [*known, *_UNSEEN[:100]]:
        if list(index.match(name)) != scan(name):
            raise AssertionError(f"{name}: the index and the scan find different listeners")
    unseen = cycle(_UNSEEN)
    found = interleaved(
        [
            Case("seen", lambda: [index.match(name) for name in known], len(known)),
            Case("unseen", lambda: index.match(next(unseen))),
            Case("scan", lambda: scan(known[-1])),
            Case("add", lambda: _filled(patterns), len(patterns)),
        ],
        rounds if len(patterns) < 100_000 else min(rounds, 5),
    )
    row = [
        f"{len(patterns):,} {kind}",
        *(microseconds(median(found[case])) for case in ("seen", "unseen", "scan")),
        times(ratio(found["scan"], found["seen"])),
        times(ratio(found["scan"], found["unseen"])),
        microseconds(median(found["add"])),
        f"{memory:.2f}",
    ]
    return row, {"kind": kind, "listeners": len(patterns), "memory_mib": memory, "us": found}


def _worst_cases(rounds: int) -> Report:
    everything = ["*"] * 1_000
    inner = _wildcards(MAX_PARTS - 1)
    name = ".".join(["a"] * (MAX_PARTS - 1))
    cases: list[tuple[str, list[str], str]] = [
        ("1,000 listeners that want everything", everything, "s0.c0"),
        (f"{len(inner):,} patterns of {MAX_PARTS} parts, all match", [f"{pattern}.*" for pattern in inner], name),
        (f"{len(inner):,} patterns of {MAX_PARTS} parts, none matches", [f"{pattern}.b" for pattern in inner], name),
        ("the same, all names longer than patterns may be", [f"{pattern}.b" for pattern in inner], f"{name}.{name}"),
    ]
    rows, samples = [], []
    for title, patterns, base in cases:
        index, _ = _index(patterns)
        unseen = cycle([f"{base}.new-{number}" for number in range(5_000)])
        found = interleaved(
            [
                Case("seen", lambda index=index, base=base: index.match(f"{base}.again")),  # type: ignore[misc]
                Case("unseen", lambda index=index, unseen=unseen: index.match(next(unseen))),  # type: ignore[misc]
            ],
            min(rounds, 5),
        )
        matches = len(index.match(f"{base}.again"))
        rows.append([title, f"{matches:,}", microseconds(median(found["seen"])), microseconds(median(found["unseen"]))])
        samples.append({"case": title, "matches": matches, "us": found})
    return Report(
        "Matching, patterns chosen to hurt: us for each event", ["case", "matches", "seen", "unseen"], rows, (), samples
    )


def _wildcards(parts: int) -> list[str]:
    """All patterns of ``a`` and ``*`` with as many ``*`` as a pattern may have: a look-up must follow every branch."""
    return [
        ".".join("*" if part in places else "a" for part in range(parts))
        for number in range(MAX_INNER_WILDCARDS + 1)
        for places in combinations(range(parts), number)
    ]


def _index(patterns: Iterable[str]) -> tuple[PatternIndex[int], float]:
    """An index of the patterns, and its size in MiB."""
    tracemalloc.start()
    index = _filled(patterns)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return index, used / 1024**2


def _filled(patterns: Iterable[str]) -> PatternIndex[int]:
    index: PatternIndex[int] = PatternIndex()
    for number, pattern in enumerate(patterns):
        index.add([pattern], number)
    return index


def linear_scan(patterns: Iterable[str]) -> Callable[[str], list[int]]:
    """What the index is measured against, and checked with."""
    compiled = []
    for number, pattern in enumerate(patterns):
        text = re.sub(r"\\\*$", ".+", re.escape(pattern)).replace(r"\*", r"[^.]+")
        compiled.append((re.compile(text), number))
    return lambda name: [number for expression, number in compiled if expression.fullmatch(name)]
