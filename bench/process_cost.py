"""What a process and its children cost: CPU time and memory, read from /proc."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds used so far, and memory now (proportional set size: shared pages counted once)."""

    cpu_s: float
    memory_bytes: int


def cost_of(root: int) -> Cost:
    """The cost of a process, its living descendants, and those it has waited for."""
    pids = [root, *_descendants(root)]
    cpu_s = sum(map(_cpu_s, pids)) + sum(map(_waited_cpu_s, pids))
    return Cost(cpu_s, sum(map(_memory_bytes, pids)))


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                children.setdefault(int(_stat_fields(int(entry.name))[1]), []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        found += (direct := children.get(queue.pop(), []))
        queue += direct
    return found


def _cpu_s(pid: int) -> float:
    """User and system time of all threads, those that ended included, in the scheduler's own nanoseconds.

    This is the clock that clock_getcpuclockid(3) returns; /proc/PID/stat has the same in ticks of 10 ms.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def _waited_cpu_s(pid: int) -> float:
    """User and system time of children that ended and were waited for."""
    with suppress(OSError):
        fields = _stat_fields(pid)
        return (int(fields[13]) + int(fields[14])) / _TICKS_PER_S
    return 0.0


def _memory_bytes(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from `state` on: the name before them may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
