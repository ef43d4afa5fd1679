"""How far one worker is, told to the others through the board."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from kaname.clock import Clock, SystemClock
from kaname.serving.workers.board import Board

LOOK_S = 0.002
LOADING_S = 120.0
"""Longest wait for workers that are seen to be loading: a large version takes its time, one worker after the other."""

log = structlog.get_logger(__name__)


class BoardProgress:
    """The `Progress` of a node in a worker process."""

    def __init__(
        self, board: Board, slot: int, *, clock: Clock | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._board = board
        self._slot = slot
        self._clock = clock or SystemClock()
        self._sleep = sleep

    def activated(self) -> int:
        return self._board.activated

    def prepared(self, number: int) -> None:
        self._board.report_prepared(self._slot, number)

    def wait_turn(self, number: int, timeout_s: float) -> bool:
        """Whoever first sees that all have prepared `number` activates it; so does time, which does not run while
        one that is late is loading. The supervisor replaces those that are left behind then."""
        began = last = self._clock.monotonic_ns()
        while self._board.activated < number and not self._board.activate_if_prepared(number):
            now = self._clock.monotonic_ns()
            behind = self._board.behind(number)
            if any(view.loading for view in behind) and now - began < LOADING_S * 1e9:
                last = now
            if now - last > timeout_s * 1e9:
                found = [f"worker {view.slot} (pid {view.pid}) is at change {view.prepared}" for view in behind]
                log.error("switching without workers that have not loaded a change", change=number, behind=found)
                self._board.activate(number)
                return True
            self._sleep(LOOK_S)
            if self._board.is_skipped(number):
                return self._board.activated >= number
        return True

    def applied(self, number: int) -> None:
        self._board.report_applied(self._slot, number)
