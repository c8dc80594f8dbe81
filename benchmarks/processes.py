"""CPU time and memory of processes and their children, read from /proc."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_KERNEL = 2  # the parent of the kernel's threads

NOISE = 0.12
"""CPUs that others may use without a measurement being in doubt."""


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found.extend(children.get(each, ()))
    return found


def parent(pid: int) -> int | None:
    """The process that started it; None where it has ended."""
    return int(fields[1]) if (fields := _stat(pid)) else None


def command(pid: int) -> str:
    """What it was started as, with arguments; empty where it has ended."""
    try:
        return (_PROC / str(pid) / "cmdline").read_text().replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def cpu_seconds(pids: list[int]) -> dict[int, float]:
    """User and system time each process has used, in seconds; one that has ended is left out."""
    return {pid: sum(map(int, fields[11:13])) / _TICKS for pid in pids if (fields := _stat(pid))}


def everybody() -> dict[int, float]:
    """User and system time of every process on this machine, but for the kernel's own, in seconds.

    What the kernel does for a process that writes to a disk, it does on threads of its own: it is nobody's here.
    """
    found = {int(entry.name): _stat(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit()}
    users = [pid for pid, fields in found.items() if fields and _KERNEL not in (pid, int(fields[1]))]
    return cpu_seconds(users)


def memory_mib(pids: list[int]) -> tuple[float, float]:
    """Resident memory in MiB: RSS, which counts shared pages once for each process, and PSS, which divides them."""
    rss = pss = 0
    for pid in pids:
        for name, kilobytes in _rollup(pid):
            if name == "Rss":
                rss += kilobytes
            elif name == "Pss":
                pss += kilobytes
    return rss / 1024, pss / 1024


def machine_busy_seconds() -> float:
    """CPU time the whole machine has used since it started, in seconds, all CPUs together."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, (_PROC / "stat").read_text().split(None, 11)[1:11])
    return (user + nice + system + irq + softirq) / _TICKS


def wait_for_quiet(patience: float = 60.0) -> bool:
    """Wait until nobody uses the machine, at most for ``patience`` seconds; False where it is still in use."""
    deadline = time.monotonic() + patience
    while True:
        busy, began = machine_busy_seconds(), time.monotonic()
        time.sleep(0.5)
        if machine_busy_seconds() - busy < NOISE * (time.monotonic() - began):
            return True
        if time.monotonic() > deadline:
            return False


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the process's state on: the name before it may contain anything."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _rollup(pid: int) -> Iterator[tuple[str, int]]:
    for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        yield name, int(value.split()[0])
