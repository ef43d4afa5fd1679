"""Stores over the network as an event loop sees them: asked at once, answered by callback, never waited for.

A few threads per layout take what has come meanwhile to the store, many rows at once; a row that is asked for again
while it is on its way is not asked for twice. Who asked is answered within its time, if need be with what was kept, or
with an error. A store that hangs holds its own threads, and no others; while its breaker is open nobody waits for it,
and one question at a time finds out whether it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from kaname.call import as_error
from kaname.clock import Clock
from kaname.features.views.caches import Keeping
from kaname.features.views.guard import Guard, Told

LOG = logging.getLogger("kaname.views")
AT_ONCE = 128
SCANS_AT_ONCE = 32
"""The same of newest rows, each of which is a scan to a store: nobody is to wait for very many of them."""
MOST_WAITING = 10_000
IDLE_S = 5.0
Then: TypeAlias = Callable[[list[Told]], None]


class _Flight:
    """One row on its way, and who waits for it."""

    __slots__ = ("keeping", "key", "waiters")

    def __init__(self, keeping: Keeping, key: bytes) -> None:
        self.keeping = keeping
        self.key = key
        self.waiters: list[tuple[_Question, int]] = []


class _Question:
    """Some rows, answered once, all together."""

    __slots__ = ("_then", "answers", "left", "timer")

    def __init__(self, count: int, then: Then) -> None:
        self.answers: list[Told | None] = [None] * count
        self.left = count
        self.timer: asyncio.TimerHandle | None = None
        self._then = then

    def answer(self, at: int, told: Told) -> None:
        """What became of one row."""
        if self.answers[at] is not None:
            return
        self.answers[at] = told
        self.left -= 1
        if self.left == 0:
            if self.timer is not None:
                self.timer.cancel()
            self._then([each for each in self.answers if each is not None])


class Asking:
    """Of one layout. `ask` belongs to the loop's thread."""

    def __init__(self, guard: Guard, clock: Clock, loop: asyncio.AbstractEventLoop, threads: int) -> None:
        self._guard = guard
        self._clock = clock
        self._loop = loop
        self._threads = threads
        self._flights: dict[tuple[int, bytes], _Flight] = {}
        self._waiting: deque[_Flight] = deque()
        self._ready = threading.Condition()
        self._running = 0
        self._idle = 0
        self._trying = False
        self._closing = False

    def ask(self, keeping: Keeping, keys: Sequence[bytes], timeout_s: float, then: Then) -> None:
        """Tell `then` what became of these rows: on the loop, after `timeout_s` at the latest."""
        question = _Question(len(keys), then)
        if self._guard.breaker.state != "closed" or len(self._waiting) > MOST_WAITING:
            if not self._trying and self._guard.breaker.due:
                self._trying = True
                self._fly(keeping, keys[0])
            for i, key in enumerate(keys):
                question.answer(i, keeping.instead(key, self._guard.alone))
            return
        for i, key in enumerate(keys):
            self._fly(keeping, key).waiters.append((question, i))
        question.timer = self._loop.call_later(timeout_s, self._late, question, keeping, keys)

    def _fly(self, keeping: Keeping, key: bytes) -> _Flight:
        """The flight of a row, begun if need be."""
        flight = self._flights.get((id(keeping), key))
        if flight is None:
            flight = self._flights[id(keeping), key] = _Flight(keeping, key)
            with self._ready:
                self._waiting.append(flight)
                if not self._idle and self._running < self._threads:
                    self._running += 1
                    threading.Thread(target=self._run, name=f"features {self._guard.name}", daemon=True).start()
                else:
                    self._ready.notify()
        return flight

    def _late(self, question: _Question, keeping: Keeping, keys: Sequence[bytes]) -> None:
        """The time of a question is over."""
        self._guard.breaker.failed()
        for i, key in enumerate(keys):
            question.answer(i, keeping.instead(key, self._guard.late))

    def _landed(self, flights: Sequence[_Flight], told: Sequence[Told]) -> None:
        self._trying = False
        for flight, one in zip(flights, told, strict=True):
            self._flights.pop((id(flight.keeping), flight.key), None)
            for question, at in flight.waiters:
                try:
                    question.answer(at, one)
                except Exception:
                    LOG.exception("what was read of a store could not be used")

    def close(self) -> None:
        """Let the threads end; those that wait for a store end when it answers."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()

    # --- on the threads -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while flights := self._take():
            told = self._loaded(flights)
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits there any more
                self._loop.call_soon_threadsafe(self._landed, flights, told)

    def _loaded(self, flights: Sequence[_Flight]) -> list[Told]:
        keeping = flights[0].keeping
        try:
            return keeping.load([flight.key for flight in flights], self._clock.time_ns() // 1000)
        except Exception as error:  # noqa: BLE001  (the thread must live, and who waits be told)
            return [Told(as_error(error), "store") for _ in flights]

    def _take(self) -> list[_Flight]:
        """The next rows of one kind; none: nothing has come for a while, and the thread ends."""
        with self._ready:
            self._idle += 1
            found = self._ready.wait_for(lambda: self._waiting or self._closing, IDLE_S)
            self._idle -= 1
            if not found or self._closing:
                self._running -= 1
                return []
            taken = [self._waiting.popleft()]
            most = AT_ONCE if taken[0].keeping.at_once else SCANS_AT_ONCE
            while self._waiting and len(taken) < most and self._waiting[0].keeping is taken[0].keeping:
                taken.append(self._waiting.popleft())
            return taken
