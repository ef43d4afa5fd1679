"""Whose the memory of this process is: the interpreter's, the sessions', or free but held back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from kaname.runtimes.memory import Usage, exact_usage, growth, measured, trim, usage

T = TypeVar("T")

SLACK_SHARE = 0.1
"""Of the process: free memory that is left with the allocator, for the next load to take."""
TWICE = 2
LOOK_SHARE = 0.01
"""Of the process: how much is loaded or closed before the slack is looked at again."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of a process by whose it is, in bytes."""

    resident: int
    """What the system says: pages in memory."""
    interpreter: int
    """Python, the libraries and the project itself, before the first load."""
    sessions: int
    """The sum of the versions."""
    slack: int
    """Free, but held by the allocators for what comes next."""

    @property
    def accounted(self) -> int:
        """The sum of the rows."""
        return self.interpreter + self.sessions + self.slack


class Ledger:
    """Measures loads, and gives memory back once much of it is free.

    The interpreter's part is what the process holds before the first load, and what libraries of runtimes add when
    they are imported. `measure`, `import_library`, `freed` and `tidy` belong to the thread that loads.
    """

    def __init__(self) -> None:
        self._base: Usage | None = None
        self._slack_after_trim = 0
        self._look_in = 0

    def open(self) -> Usage:
        """Begin with what is there now; later calls change nothing."""
        if self._base is None:
            self._base = usage()
        return self._base

    def import_library(self, work: Callable[[], object]) -> None:
        """Let `work` import what a runtime needs: not a session's memory."""
        before = self.open()
        here = usage()
        work()
        after = usage()
        self._base = Usage(
            resident=before.resident + max(after.resident - here.resident, 0),
            private=before.private + max(after.private - here.private, 0),
            in_use=before.in_use + max(growth(here, after), 0),
        )

    def measure(self, work: Callable[[], T], expected: int = 0) -> tuple[T, int]:
        """What `work` returns, and the bytes that it left in memory. `expected`: what it was measured to leave in a
        process without traffic (0: never). Requests in progress take and free memory at the same time: a figure that
        is more than twice off is theirs."""
        self.open()
        result, size = measured(work)
        if expected and not expected / TWICE <= size <= expected * TWICE:
            size = expected
        self._look_in -= size
        return result, size

    def freed(self, size: int) -> None:
        """A session of `size` bytes has been closed."""
        self._look_in -= size
        self.tidy()

    def tidy(self) -> None:
        """Give free memory back when there is much of it; not again and again where it is scattered too finely to be
        given back."""
        if self._look_in > 0:
            return
        now = usage()
        self._look_in = int(LOOK_SHARE * now.resident)
        slack, bound = self._slack(now), SLACK_SHARE * now.resident
        if slack > bound and slack > self._slack_after_trim + bound / 4:
            trim()
            self._slack_after_trim = self._slack(usage())
        elif slack < self._slack_after_trim:
            self._slack_after_trim = slack

    def _slack(self, now: Usage) -> int:
        base = self.open()
        return max(now.private - base.private - (now.in_use - base.in_use), 0)

    def memory(self, sessions: int) -> Memory:
        """The account as of now. Reads every page's state: on a thread."""
        now = exact_usage()
        return Memory(
            resident=now.resident, interpreter=self.open().resident, sessions=sessions, slack=self._slack(now)
        )
