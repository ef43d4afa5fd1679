"""How far one worker is, told to the others through the board."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from kaname.clock import Clock, SystemClock
from kaname.serving.workers.board import Board

LOOK_S = 0.002
OTHERS_S = 15.0
"""How much longer to wait where other nodes are waited for: they do not wait longer for this one, either."""
LOADING_S = 120.0
"""Longest wait for workers that are seen to be loading: a large version takes its time, one worker after the other."""

log = structlog.get_logger(__name__)


class BoardProgress:
    """The `Progress` of a node in a worker process."""

    def __init__(
        self,
        board: Board,
        slot: int,
        *,
        together: bool = False,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`together`: the workers of this node wait for those of the others, too."""
        self._together = together
        self._board = board
        self._slot = slot
        self._clock = clock or SystemClock()
        self._sleep = sleep

    def activated(self) -> int:
        """Asked by each request while a switch is prepared: nodes switch at the moment set, not when a thread runs."""
        if self._together and self._board.allowed > self._board.activated:
            self._activate(self._board.allowed)
        return self._board.activated

    def prepared(self, number: int) -> None:
        self._board.report_prepared(self._slot, number)

    def wait_turn(self, number: int, timeout_s: float) -> bool:
        """Whoever first sees that all have prepared `number` activates it; so does time, which does not run while
        one that is late is loading. The supervisor replaces those that are left behind then."""
        began = last = self._clock.monotonic_ns()
        while self._board.activated < number and not self._activate(number):
            now = self._clock.monotonic_ns()
            behind = self._board.behind(number)
            if any(view.loading for view in behind) and now - began < LOADING_S * 1e9:
                last = now
            if now - last > (timeout_s + self._together * OTHERS_S) * 1e9:
                found = [f"worker {view.slot} (pid {view.pid}) is at change {view.prepared}" for view in behind]
                log.error("switching without workers that have not loaded a change", change=number, behind=found)
                self._board.activate(number)
                return True
            self._sleep(LOOK_S)
            if self._board.is_skipped(number) or (self._together and self._board.elsewhere > number):
                return self._board.activated >= number
        return True

    def _activate(self, number: int) -> bool:
        allowed = not self._together or self._board.is_allowed(number)
        return allowed and self._board.activate_if_prepared(number)

    def applied(self, number: int) -> None:
        self._board.report_applied(self._slot, number)
