"""One timer wheel per worker: calls that wait are failed when their deadline passes."""

from __future__ import annotations

import asyncio

from kaname.call import Call
from kaname.clock import Clock
from kaname.errors import DeadlineExceeded

TICK_NS = 10_000_000


class Deadlines:
    """Fails registered calls within one tick (10 ms) after their deadline, before anything is computed for them.

    Buckets hold the calls of one tick. A call that ends in time is simply found done; `forget` drops it
    earlier, so that a long deadline does not keep its memory.
    """

    __slots__ = ("_buckets", "_clock", "_loop", "_timer")

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._clock = clock
        self._loop = loop
        self._buckets: dict[int, set[Call]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, call: Call) -> None:
        """Fail `call` when its deadline passes; a call without deadline (0) is left alone."""
        if call.deadline_ns == 0:
            return
        self._buckets.setdefault(call.deadline_ns // TICK_NS + 1, set()).add(call)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_NS / 1e9, self._turn)

    def forget(self, call: Call) -> None:
        """Stop watching `call`."""
        tick = call.deadline_ns // TICK_NS + 1
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.discard(call)
            if not bucket:
                del self._buckets[tick]

    def sweep(self) -> None:
        """Fail every watched call whose deadline has passed."""
        now = self._clock.monotonic_ns()
        tick = now // TICK_NS
        due = [at for at in self._buckets if at <= tick]
        for at in sorted(due):
            for call in self._buckets.pop(at, ()):  # the end of a call before may have ended all of these
                if not call.done:
                    self.expire(call)

    def expire(self, call: Call) -> None:
        """Fail `call` because its deadline has passed."""
        waited_ms = (self._clock.monotonic_ns() - call.started_ns) / 1e6
        call.fail(DeadlineExceeded(f"no answer within the deadline; waited {waited_ms:.0f} ms"))

    def _turn(self) -> None:
        self._timer = None
        self.sweep()
        if self._buckets:
            self._timer = self._loop.call_later(TICK_NS / 1e9, self._turn)

    def close(self) -> None:
        """Stop the wheel; watched calls are left as they are."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
