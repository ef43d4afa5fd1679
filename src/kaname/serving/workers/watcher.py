"""Notices that the change journal moved, and has the worker catch up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from kaname.clock import Clock, SystemClock
from kaname.telemetry.logs import Throttle

log = structlog.get_logger(__name__)
WENT_BACK = (
    "the change journal went back: its database was put back from a copy while the server ran; changes are not seen "
    "until the server is restarted"
)


class JournalWatcher:
    """Calls `apply(n)` each time `number()` has risen to n, one call at a time.

    While `apply` runs the journal may move on; the next call gets the newest number, those between are skipped. When
    `number` fails (the control plane is down) or `apply` does, the worker goes on with what it has: that is said once a
    minute and tried again every `interval_s` or `retry_s`. A look costs an idle process a wake-up, much dearer than the
    question itself: ten a second are few enough, and let a change reach every worker within 200 ms. `inline` calls
    `number` on the event loop: only for one that takes less than 50 µs and cannot block; else it runs in a thread.
    """

    def __init__(
        self,
        number: Callable[[], int],
        apply: Callable[[int], Awaitable[None]],
        *,
        applied: int = 0,
        interval_s: float = 0.1,
        retry_s: float = 1.0,
        inline: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._number = number
        self._apply = apply
        self._interval_s = interval_s
        self._retry_s = retry_s
        self._inline = inline
        self._throttle = Throttle(clock or SystemClock())
        self._poked = asyncio.Event()
        self._applied = applied

    @property
    def applied(self) -> int:
        """The last number whose `apply` returned."""
        return self._applied

    def poke(self) -> None:
        """Look now: this process has just written a change. Call it on the event loop."""
        self._poked.set()

    async def run(self) -> None:
        """Watch until cancelled; a cancelled `apply` is cancelled with it."""
        while True:
            pause = await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._poked.wait()
            self._poked.clear()

    async def _look(self) -> float:
        """Catch up if the journal moved; returns the pause before the next look in seconds."""
        try:
            number = self._number() if self._inline else await asyncio.to_thread(self._number)
        except Exception as error:  # noqa: BLE001  (a dead control plane never stops predictions)
            self._say("cannot read the change journal; predictions go on with the last snapshot", _kind(error))
            return self._interval_s
        if number < self._applied:
            self._say(WENT_BACK, f"change {number}, where change {self._applied} was applied already")
        if number <= self._applied:
            return self._interval_s
        try:
            await self._apply(number)
        except Exception as error:  # noqa: BLE001
            self._say("cannot apply the latest changes; predictions go on with the last snapshot", _kind(error))
            return self._retry_s
        self._applied = number
        return self._interval_s

    def _say(self, what: str, error: str) -> None:
        held_back = self._throttle.due(what)
        if held_back is not None:
            log.error(what, error=error, times_since_last_said=held_back)


def _kind(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
