"""Switching together: how long workers wait for the one that is late."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from kaname.clock import ManualClock
from kaname.serving.workers.board import Board, State
from kaname.serving.workers.progress import LOADING_S, BoardProgress

CHANGE = 9
SWITCH_S = 10.0


class Two:
    """Two workers, of which the first has prepared the change. `then` happens after so many seconds of waiting."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.board = Board.create(folder / "board", 3, clock=self.clock)
        for slot in (0, 1):
            self.board.claim(slot, socket=slot, generation=slot + 1)
            self.board.set_state(slot, State.READY)
        self.board.report_prepared(0, CHANGE)

    def wait(self, at_s: float = 1e9, then: Callable[[], None] = lambda: None) -> float:
        """How long the first worker waits for its turn, in seconds."""
        began = self.clock.monotonic_ns()

        def sleep(_: float) -> None:
            self.clock.advance(ms=500)
            if self.clock.monotonic_ns() - began == at_s * 1e9:
                then()

        assert BoardProgress(self.board, 0, clock=self.clock, sleep=sleep).wait_turn(CHANGE, SWITCH_S)
        assert self.board.activated == CHANGE
        return (self.clock.monotonic_ns() - began) / 1e9


def test_one_that_does_nothing_is_left_behind_loudly(tmp_path: Path) -> None:
    """After the time is over the others switch; the log names the worker."""
    two = Two(tmp_path)
    with structlog.testing.capture_logs() as lines:
        assert SWITCH_S < two.wait() <= SWITCH_S + 1
    (line,) = lines
    assert line["log_level"] == "error"
    assert line["change"] == CHANGE
    assert "worker 1 (pid" in line["behind"][0]


def test_one_that_loads_is_waited_for(tmp_path: Path) -> None:
    """A large version takes longer than the switch may; that is no reason to lose a worker."""
    two = Two(tmp_path)
    with structlog.testing.capture_logs() as lines, two.board.loading(1, 42):
        assert two.wait(60.0, lambda: two.board.report_prepared(1, CHANGE)) == 60.0
    assert lines == []


def test_not_even_a_load_is_waited_for_without_end(tmp_path: Path) -> None:
    """One that hangs in a load is left behind, too."""
    two = Two(tmp_path)
    with structlog.testing.capture_logs() as lines, two.board.loading(1, 42):
        assert LOADING_S < two.wait() < LOADING_S + SWITCH_S + 2
    assert len(lines) == 1
