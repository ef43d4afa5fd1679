"""What this process holds in memory, and how much of it a piece of work has added.

Source of the figures: `mallinfo2` of the GNU C library (2.33 and newer), https://man7.org/linux/man-pages/man3/mallinfo.3.html,
and `/proc/self`, https://docs.kernel.org/filesystems/proc.html. With another C library what malloc has given out is not
known: then what a session takes is the growth of the process alone.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")

ELSEWHERE_BYTES = 4 * 1024 * 1024
"""Growth of the process beyond malloc's that is not put down to Python's own pools, which come a megabyte at a time."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _MallInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The process at one moment, in bytes."""

    resident: int
    """In memory, mapped files included."""
    private: int
    """Of these, what belongs to no file."""
    in_use: int
    """What malloc has given out and not got back."""


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallinfo2"):
        libc.mallinfo2.restype = _MallInfo
    return libc


_LIBC = _libc()


def usage() -> Usage:
    """As counted by the kernel on the way: cheap (10 µs), and a few pages off."""
    _, resident, files, *_ = Path("/proc/self/statm").read_text().split()
    private = (int(resident) - int(files)) * _PAGE
    return Usage(resident=int(resident) * _PAGE, private=private, in_use=_in_use(private))


def exact_usage() -> Usage:
    """Page by page; takes a millisecond per gigabyte and more."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines[1:])}
    private = sizes["Anonymous"]
    return Usage(resident=sizes["Rss"], private=private, in_use=_in_use(private))


def _in_use(private: int) -> int:
    if not hasattr(_LIBC, "mallinfo2"):
        return private
    info = _LIBC.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def trim() -> None:
    """Give free pages back to the system. Blocks without the interpreter's lock; a few ms per 100 MB."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


def growth(before: Usage, after: Usage) -> int:
    """Bytes that were added in between: what malloc gave out, or, where a library has mapped memory of its own, all."""
    given = after.in_use - before.in_use
    grown = after.private - before.private
    return max(given, grown if grown > given + ELSEWHERE_BYTES else 0, 0)


def measured(work: Callable[[], T]) -> tuple[T, int]:
    """What `work` returns, and the bytes that it left in memory. Other threads' work in the meantime counts as well;
    of memory that a library maps itself, as much is missed as was free before."""
    before = usage()
    result = work()
    after = usage()
    if after.private - before.private > after.in_use - before.in_use + ELSEWHERE_BYTES:
        trim()  # what was only needed on the way is no memory of the result's
        after = usage()
    return result, growth(before, after)


def machine_bytes() -> int:
    """Memory that this process may use: of the machine, or of its control group where that has less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * _PAGE]
    for path in _CGROUPS:
        try:
            limits.append(int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(limits)
