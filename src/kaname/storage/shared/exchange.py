"""The shared store as the event loop sees it: asked at once, answered by callback, never waited for.

One thread takes everything that has come meanwhile to the store, one exchange after the other; a breaker stands in
front of it. A store that is dead or frozen costs those who asked before the breaker opened their own short wait; from
then on questions are answered "not known" at once, and only the thread itself tries whether the store is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from kaname.clock import Clock
from kaname.errors import Unavailable
from kaname.resilience.breaker import Breaker, BreakerRule, State
from kaname.storage.shared.types import Draw, Drawn, SharedStore, Value
from kaname.telemetry.metrics import Metrics

T = TypeVar("T")
LOG = logging.getLogger("kaname.shared")
REST_S = 0.2
MOST_WAITING_BYTES = 16 * 1024 * 1024
AT_ONCE = 512


class Question(Generic[T]):
    """Something asked of the store, answered once on the loop: at the latest when its time is over, with None."""

    __slots__ = ("_then", "asked", "done", "timer")

    def __init__(self, asked: Any, then: Callable[[T | None], None]) -> None:
        self.asked = asked
        self._then = then
        self.done = False
        self.timer: asyncio.TimerHandle | None = None

    def answer(self, found: T | None) -> bool:
        """Tell who asked; False when that has happened before."""
        if self.done:
            return False
        self.done = True
        if self.timer is not None:
            self.timer.cancel()
        self._then(found)
        return True


class Exchange:
    """One per worker. `get`, `put` and `draw` belong to the loop's thread."""

    def __init__(
        self,
        store: SharedStore,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        lookup_ms: float,
        metrics: Metrics | None = None,
        rule: BreakerRule | None = None,
    ) -> None:
        """`lookup_ms`: how long who asks waits for an answer."""
        self._store = store
        self._clock = clock
        self._loop = loop
        self._lookup_s = lookup_ms / 1000
        self.breaker = Breaker(clock, rule, self._changed)
        self._open = None if metrics is None else metrics.gauge("kaname_shared_open", "Whether Redis is left alone.")
        self._failed = (
            None if metrics is None else metrics.counter("kaname_shared_failures_total", "Exchanges that failed.")
        )
        self._gets: list[Question[Any]] = []
        self._draws: list[Question[Drawn]] = []
        self._puts: list[tuple[str, Callable[[], bytes], int]] = []
        self._held_bytes = 0
        self._began_ns = 0
        """When the exchange in progress began; 0: none."""
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shared-store", daemon=True)
        self._thread.start()

    # --- on the loop --------------------------------------------------------------------------------------

    @property
    def answers(self) -> bool:
        """Whether it is worth asking."""
        return self.breaker.state == "closed"

    def get(self, key: str, read: Callable[[bytes], T | None], then: Callable[[T | None], None]) -> None:
        """Tell `then` what `read` (called on the thread) makes of the value of `key`; None where there is none."""
        self._ask(self._gets, Question((key, read), then))

    def draw(self, draw: Draw, then: Callable[[Drawn | None], None]) -> None:
        """Tell `then` what came of a draw; None: not known."""
        self._ask(self._draws, Question(draw, then))

    def put(self, key: str, size: int, write: Callable[[], bytes], ttl_ms: int) -> None:
        """Keep what `write` (called on the thread) returns, about `size` bytes, when there is time for it."""
        if self.answers and self._held_bytes + size <= MOST_WAITING_BYTES:
            self._held_bytes += size
            self._puts.append((key, write, ttl_ms))
            self._wake.set()

    def _ask(self, waiting: list[Question[Any]], question: Question[Any]) -> None:
        if not self.answers:
            question.answer(None)
            return
        question.timer = self._loop.call_later(self._lookup_s, self._late, question)
        waiting.append(question)
        self._wake.set()

    def _late(self, question: Question[Any]) -> None:
        """A question whose time is over; the store is to blame if it is what the thread waits for."""
        began = self._began_ns
        if question.answer(None) and began and self._clock.monotonic_ns() - began > self._lookup_s * 1e9:
            self.breaker.failed()

    def close(self) -> None:
        """End the thread; blocks for one exchange at most: on a thread. What waits is answered with None."""
        self._closing.set()
        self._wake.set()
        self._thread.join()
        self._store.close()

    # --- on the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(REST_S)
            self._wake.clear()
            while not self._closing.is_set() and (self._gets or self._draws or self._puts):
                self._turn()
            if not self.answers:
                self._exchange(partial(self._store.get, ["probe"]))

    def _turn(self) -> None:
        """One exchange of each kind. Lists are filled by the loop and emptied here, each in one step."""
        draws, gets, puts = _taken(self._draws), _taken(self._gets), _taken(self._puts)
        if draws:
            self._post(draws, self._exchange(partial(self._store.draw, [one.asked for one in draws])))
        if gets:
            found = self._exchange(partial(self._store.get, [one.asked[0] for one in gets]))
            read = (
                None if found is None else [_read(one.asked[1], value) for one, value in zip(gets, found, strict=True)]
            )
            self._post(gets, read)
        if puts:
            values = [Value(key, write(), ttl_ms) for key, write, ttl_ms in puts]
            self._exchange(partial(self._store.put, values))
        if not self._puts:
            self._held_bytes = 0

    def _exchange(self, ask: Callable[[], T]) -> T | None:
        """What the store answers; None where it is left alone or fails."""
        if not self.breaker.allows():
            return None
        began = self._began_ns = self._clock.monotonic_ns()
        try:
            found = ask()
        except Unavailable as error:
            self._complain(error)
        except Exception as error:  # noqa: BLE001  (the thread must live)
            self._complain(error)
        else:
            self.breaker.succeeded((self._clock.monotonic_ns() - began) / 1e6)
            return found
        finally:
            self._began_ns = 0
        return None

    def _complain(self, error: Exception) -> None:
        if self.breaker.state == "closed":
            LOG.warning("the shared store fails: %s", error)
        if self._failed is not None:
            self._failed.add()
        self.breaker.failed()

    def _changed(self, state: State) -> None:
        if self._open is not None:
            self._open.set(float(state != "closed"))
        if state != "half open":
            LOG.warning("the shared store is %s", "used again" if state == "closed" else "left alone for a while")

    def _post(self, questions: Sequence[Question[Any]], found: Sequence[Any] | None) -> None:
        answers = [None] * len(questions) if found is None else found
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits there any more
            self._loop.call_soon_threadsafe(_deliver, questions, answers)


def _deliver(questions: Sequence[Question[Any]], answers: Sequence[Any]) -> None:
    for question, answer in zip(questions, answers, strict=True):
        try:
            question.answer(answer)
        except Exception:
            LOG.exception("what came of the shared store could not be used")


def _taken(waiting: list[T]) -> list[T]:
    taken = waiting[:AT_ONCE]
    del waiting[: len(taken)]
    return taken


def _read(read: Callable[[bytes], T | None], value: bytes | None) -> T | None:
    return None if value is None else read(value)
