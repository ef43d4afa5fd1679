"""Where versions are loaded: on threads beside the loop, one load at a time, in the order in which they are given."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

STEPS_BACK = 10
"""Of nice(2): how far loads stand behind the loop. Where both share a core, a request would else wait until the load's
slice of time is over, some milliseconds. However busy the loop is, a tenth of the core is left to loads."""


class Loads:
    """Two threads, of which one works at a time. Most loads stand back. Threads inherit that from whoever starts them,
    so a session that has threads of its own is opened on the other one: its runs are not to stand back."""

    def __init__(self) -> None:
        self._behind = ThreadPoolExecutor(1, "load", _step_back)
        self._beside = ThreadPoolExecutor(1, "load-beside")
        self._turn = threading.Lock()

    async def run(self, work: Callable[[], T], *, starts_threads: bool) -> T:
        """What `work` returns, or raises. It begins when all that was given before has ended."""
        loop = asyncio.get_running_loop()
        if starts_threads:
            await loop.run_in_executor(self._behind, _nothing)
        return await loop.run_in_executor(self._beside if starts_threads else self._behind, self._alone, work)

    def submit(self, work: Callable[[], None]) -> None:
        """Have `work` done. Raises RuntimeError after the end."""
        self._behind.submit(self._alone, work)

    def _alone(self, work: Callable[[], T]) -> T:
        with self._turn:
            return work()

    def shutdown(self) -> None:
        """Finish what was given, and end. Blocks."""
        self._behind.shutdown()
        self._beside.shutdown()


def _step_back() -> None:
    if sys.platform == "linux":  # where a thread has a priority of its own
        mine = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, mine, os.getpriority(os.PRIO_PROCESS, mine) + STEPS_BACK)


def _nothing() -> None:
    return
