"""How far one worker is, told to the others through the board."""

from __future__ import annotations

import time

from kaname.serving.workers.board import Board

LOOK_S = 0.002


class BoardProgress:
    """The `Progress` of a node in a worker process."""

    def __init__(self, board: Board, slot: int) -> None:
        self._board = board
        self._slot = slot

    def activated(self) -> int:
        return self._board.activated

    def prepared(self, number: int) -> None:
        self._board.report_prepared(self._slot, number)

    def wait_turn(self, number: int, timeout_s: float) -> bool:
        """Whoever first sees that all have prepared `number` activates it; so does time."""
        until = time.monotonic() + timeout_s
        while self._board.activated < number and not self._board.activate_if_prepared(number):
            if time.monotonic() > until:
                self._board.activate(number)
                return True
            time.sleep(LOOK_S)
            if self._board.is_skipped(number):
                return self._board.activated >= number
        return True

    def applied(self, number: int) -> None:
        self._board.report_applied(self._slot, number)
