"""Worker threads for models too slow for the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], None]


class Crew:
    """`threads` threads that take work first come, first served.

    A lane posts one run at a time, so lanes take turns and a busy model cannot occupy every thread for longer
    than its current run. Threads start with the first work.
    """

    def __init__(self, threads: int, loop: asyncio.AbstractEventLoop) -> None:
        self._count = threads
        self._loop = loop
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def post(self, work: Work) -> None:
        """Run `work` on a thread. It must not raise."""
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._serve, name=f"infer-{i}", daemon=True) for i in range(self._count)
            ]
            for thread in self._threads:
                thread.start()
        self._queue.put(work)

    def back(self, callback: Callable[[], None]) -> None:
        """Run `callback` on the loop; called from a thread. After the loop has closed it is dropped."""
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            return

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            work()

    def close(self) -> None:
        """Let the threads finish what was posted, then end."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(timeout=30)
        self._threads = []
