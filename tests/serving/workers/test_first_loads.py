"""Who loads a version that no worker has loaded yet: one alone, and never the last that answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from kaname.serving.workers.board import Board, State
from kaname.serving.workers.first_loads import PATIENCE_S, FirstLoads

VERSION = 7


def never(_: float) -> None:
    raise AssertionError("it waits")


class Run:
    """The board of a run whose workers all answer."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.folder = folder
        self.board = Board.create(folder / "board", workers + 1)
        for slot in range(workers):
            self.board.claim(slot, socket=slot, generation=slot + 1)
            self.board.set_state(slot, State.READY)

    def worker(self, slot: int, sleep: Callable[[float], None] = never) -> FirstLoads:
        return FirstLoads(self.folder / "loaded", Board(self.folder / "board"), slot, sleep=sleep)


def test_one_tries_and_the_others_wait_for_its_result(tmp_path: Path) -> None:
    """The second worker begins after the first has loaded it; a third need not wait for the second."""
    run = Run(tmp_path, 3)
    began, loaded = threading.Event(), threading.Event()
    order: list[str] = []

    def second() -> None:
        began.set()
        with run.worker(1, lambda _: None).loading(VERSION):
            order.append("second")
            with run.worker(2).loading(VERSION):
                order.append("third")
        loaded.set()

    with run.worker(0).loading(VERSION):
        thread = threading.Thread(target=second)
        thread.start()
        assert began.wait(5)
        assert not loaded.wait(0.05)
        order.append("first")
    assert loaded.wait(5)
    thread.join()
    assert order == ["first", "second", "third"]


def test_a_load_that_fails_leaves_the_turn_to_the_next(tmp_path: Path) -> None:
    """It has not been loaded: the next worker is alone with it again."""
    run = Run(tmp_path)
    try:
        with run.worker(0).loading(VERSION):
            raise ValueError("unreadable")
    except ValueError:
        pass
    with run.worker(1).loading(VERSION):
        assert run.board.view(1).loading == VERSION


def test_after_a_death_the_last_that_answers_does_not_try(tmp_path: Path) -> None:
    """It waits while the death is unreckoned and the place is empty; the worker that starts there tries instead."""
    run = Run(tmp_path)
    run.board._write(0, {8: VERSION})  # what a worker that is killed while it loads leaves on the board
    seen: list[str] = []

    def sleep(_: float) -> None:
        if not seen:
            seen.append("unreckoned")
            assert run.board.mark_dead(0) == VERSION
        elif len(seen) == 1:
            seen.append("empty")
            run.board.claim(0, socket=0, generation=3)
            with run.worker(0).loading(VERSION):
                seen.append("tried by the new one")

    with run.worker(1, sleep).loading(VERSION):
        assert seen == ["unreckoned", "empty", "tried by the new one"]


def test_quarantine_ends_the_wait(tmp_path: Path) -> None:
    """The second death decides it: whoever waited is let through to hear so."""
    run = Run(tmp_path)
    run.board.mark_dead(0)
    with run.worker(1, lambda _: run.board.quarantine(VERSION)).loading(VERSION):
        assert VERSION in run.board.quarantined()


def test_nobody_waits_for_ever_for_a_worker_that_does_not_come_back(tmp_path: Path) -> None:
    """After the longest pause before a restart it is tried all the same."""
    run = Run(tmp_path)
    run.board.mark_dead(0)
    slept: list[float] = []
    with run.worker(1, slept.append).loading(VERSION):
        assert abs(sum(slept) - PATIENCE_S) < 0.1


def test_a_single_worker_tries_at_once(tmp_path: Path) -> None:
    """There is no other to answer in its place, ever."""
    with Run(tmp_path, 1).worker(0).loading(VERSION):
        pass
