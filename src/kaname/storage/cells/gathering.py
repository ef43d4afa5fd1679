"""Writing as the event loop sees it: told at once, confirmed by callback, never waited for.

One thread takes everything that came while the last batch became durable, and writes it as one: with thousands of small
writes a second each of them costs microseconds, and none waits longer than two batches take.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence

from kaname.errors import InvalidInput, KanameError, NotFound, Overloaded, TooLarge, Unavailable
from kaname.storage.cells.types import CellWriter, Mutation

LOG = logging.getLogger("kaname.cells")
AT_ONCE = 10_000
"""Most mutations of a batch that is made of several."""
MOST_WAITING = 100_000
"""Most mutations that wait; beyond them a write is refused."""

Done = Callable[[KanameError | None], None]
"""Told once, on the loop: None, it is durable; or why it is not, as `CellWriter.write` would have raised it."""
_Waiting = tuple[Sequence[Mutation], Done]


class Gathering:
    """One per process and store; `write` belongs to the loop's thread."""

    def __init__(self, store: CellWriter, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop
        self._waiting: list[_Waiting] = []
        self._count = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="cells-gather", daemon=True)
        self._thread.start()

    def write(self, mutations: Sequence[Mutation], done: Done) -> None:
        """Have a batch written, whole, behind those that came before. Raises Overloaded, Unavailable after the end."""
        with self._changed:
            if self._closing:
                raise Unavailable("the cell store has been closed")
            if self._count + len(mutations) > MOST_WAITING and self._waiting:
                raise Overloaded(
                    "too many writes wait for the cell store",
                    found=f"{self._count} mutations",
                    expected=f"at most {MOST_WAITING}",
                )
            self._waiting.append((mutations, done))
            self._count += len(mutations)
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, and end the thread; blocks for as long as that takes: on a thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    # --- on the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        while group := self._next():
            outcomes = self._write(group)
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits there any more
                self._loop.call_soon_threadsafe(_deliver, group, outcomes)

    def _next(self) -> list[_Waiting]:
        """The batches to write next; none at the end."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            size = count = 0
            for mutations, _ in self._waiting:
                if count and size + len(mutations) > AT_ONCE:
                    break
                size += len(mutations)
                count += 1
            group = self._waiting[:count]
            del self._waiting[:count]
            self._count -= size
            return group

    def _write(self, group: Sequence[_Waiting]) -> list[KanameError | None]:
        """Write batches as one. Where one of them is at fault, or all are too much, halves go by themselves."""
        try:
            self._store.write([mutation for mutations, _ in group for mutation in mutations])
        except (InvalidInput, NotFound, TooLarge) as error:
            if len(group) == 1:
                return [error]
            half = len(group) // 2
            return self._write(group[:half]) + self._write(group[half:])
        except KanameError as error:
            return [error] * len(group)
        except Exception as error:
            LOG.exception("cells could not be written")
            return [Unavailable("the cell store failed", found=repr(error))] * len(group)
        return [None] * len(group)


def _deliver(group: Sequence[_Waiting], outcomes: Sequence[KanameError | None]) -> None:
    for (_, done), outcome in zip(group, outcomes, strict=True):
        try:
            done(outcome)
        except Exception:
            LOG.exception("what came of a write could not be used")
