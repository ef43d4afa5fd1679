"""What a tree of processes used: CPU time including children that have ended, and memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One line of `/proc/PID/stat`."""

    pid: int
    parent: int
    cpu_s: float
    """User and system time of the process and of the children it has reaped."""


def parse_stat(line: str) -> ProcessStat:
    """Read a `/proc/PID/stat` line; the name in parentheses may itself hold spaces and parentheses (proc(5))."""
    pid, rest = line[: line.index("(")], line[line.rindex(")") + 2 :].split()
    utime, stime, reaped_utime, reaped_stime = (int(field) for field in rest[11:15])
    return ProcessStat(int(pid), int(rest[1]), (utime + stime + reaped_utime + reaped_stime) / TICKS_PER_S)


def _running() -> list[ProcessStat]:
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                found.append(parse_stat((entry / "stat").read_text()))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended between the listing and the reading
    return found


def tree(root: int) -> list[ProcessStat]:
    """The process `root` and all its living descendants, parents first."""
    children: dict[int, list[ProcessStat]] = {}
    everything = _running()
    for stat in everything:
        children.setdefault(stat.parent, []).append(stat)
    found = [stat for stat in everything if stat.pid == root]
    for stat in found:  # grows while it is walked
        found.extend(children.get(stat.pid, ()))
    return found


def tree_cpu_s(root: int) -> float:
    """CPU seconds used so far by `root`, its descendants, and those of them that ended and were reaped."""
    return sum(stat.cpu_s for stat in tree(root))


def resident_bytes(pid: int) -> int:
    """Resident memory of one process."""
    pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
