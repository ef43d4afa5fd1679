"""The board: what the processes of one run tell each other, and who waits for whom."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kaname.clock import ManualClock
from kaname.errors import Conflict, CorruptData
from kaname.serving.workers.board import Board, State, board_path, running_board
from kaname.serving.workers.lock import ProjectLock, holder


def make(tmp_path: Path, slots: int = 2, clock: ManualClock | None = None) -> Board:
    board = Board.create(tmp_path / "board", slots, clock=clock or ManualClock())
    for slot in range(slots):
        board.claim(slot, socket=slot, generation=slot + 1)
        board.set_state(slot, State.READY)
    return board


def test_a_slot_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What one mapping writes, another one reads."""
    board = make(tmp_path)
    board.report_prepared(1, 5)
    board.report_applied(1, 4)
    view = Board(tmp_path / "board").view(1)
    assert (view.pid, view.generation, view.socket, view.state) == (os.getpid(), 2, 1, State.READY)
    assert (view.prepared, view.applied, view.loading) == (5, 4, 0)


def test_a_reader_never_sees_half_a_write(tmp_path: Path) -> None:
    """`report_applied` writes two cells; a reader in another process that looks all the time sees both or none."""
    board = make(tmp_path)
    program = (
        "import sys; from itertools import count; from pathlib import Path\n"
        "from kaname.serving.workers.board import Board\n"
        "board = Board(Path(sys.argv[1]))\n"
        "for number in count(1): board.report_applied(0, number)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "board")]) as writer:
        try:
            seen: set[int] = set()
            while len(seen) < 100:
                view = board.view(0)
                assert view.prepared == view.applied
                assert writer.poll() is None
                seen.add(view.applied)
        finally:
            writer.kill()


def test_waiting_names_the_laggards(tmp_path: Path) -> None:
    """After the timeout, each live worker that is behind is named with where it stands; the dead are not waited for."""
    clock = ManualClock()
    make(tmp_path, 3, clock)
    board = Board(tmp_path / "board", clock=clock, sleep=lambda s: clock.advance(ms=s * 1000))
    board.report_applied(0, 7)
    board.report_applied(1, 6)
    board.mark_dead(2)
    assert board.wait_applied(6, 0.0) == []
    with board.loading(1, 42):
        late = board.wait_applied(7, 1.5)
    assert late == [
        f"worker 1 (pid {os.getpid()}) has applied change 6 of 7, is loading version 42, last sign of life 1.5 s ago"
    ]


def test_waiting_ends_when_all_have_applied(tmp_path: Path) -> None:
    """`wait_applied` returns as soon as the last worker has reported."""
    board = make(tmp_path, 1)
    waiting = Board(tmp_path / "board", clock=ManualClock(), sleep=lambda _: board.report_applied(0, 3))
    assert waiting.wait_applied(3, 60.0) == []


def test_a_killed_worker_is_not_waited_for(tmp_path: Path) -> None:
    """A slot whose process is gone holds nobody up, even before the supervisor has noticed."""
    board = make(tmp_path, 1)
    program = (
        "import sys; from pathlib import Path; from kaname.serving.workers.board import Board, State\n"
        "Board(Path(sys.argv[1])).set_state(0, State.READY)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "board")], check=True)
    assert board.view(0).state is State.READY
    assert board.laggards(9) == []
    assert board.live_slots() == {0}


def test_activation_waits_for_all(tmp_path: Path) -> None:
    """All live workers must have prepared a change before it may be activated; activation never goes back."""
    board = make(tmp_path)
    board.report_prepared(0, 9)
    assert not board.may_activate(9)
    board.report_prepared(1, 9)
    assert board.may_activate(9)
    board.activate(9)
    board.activate(8)
    assert Board(tmp_path / "board").activated == 9


def test_a_change_that_a_worker_skipped_is_not_activated(tmp_path: Path) -> None:
    """A worker that has prepared only the newer of two changes could not answer from the older one."""
    board = make(tmp_path)
    board.report_prepared(0, 8)
    board.report_prepared(1, 9)
    assert board.may_activate(8)
    assert board.is_skipped(8)
    assert not board.activate_if_prepared(8)
    board.report_prepared(0, 9)
    assert board.activate_if_prepared(9)
    assert board.activated == 9


@pytest.mark.parametrize("state", [State.DRAINING, State.JOINING])
def test_whoever_still_or_soon_answers_is_waited_for(tmp_path: Path, state: State) -> None:
    """A worker that drains has open connections, one that joins will have: neither may give older answers."""
    board = make(tmp_path)
    board.report_prepared(0, 9)
    board.set_state(1, state)
    assert not board.activate_if_prepared(9)
    board.report_prepared(1, 9)
    assert board.activate_if_prepared(9)


def test_joining_tells_what_the_others_answer_from(tmp_path: Path) -> None:
    """A new worker learns which change it must have before it accepts connections, and is counted from then on."""
    board = make(tmp_path)
    board.set_state(1, State.STARTING)
    board.report_prepared(0, 9)
    assert board.activate_if_prepared(9)
    assert board.join(1) == 9
    assert not board.may_activate(9)


def test_loading_names_one_version_at_a_time(tmp_path: Path) -> None:
    """While a version is loaded the board says which; another load waits for its turn; a death tells the version."""
    board = make(tmp_path)
    started, seen = threading.Event(), []

    def second() -> None:
        started.set()
        with board.loading(0, 2):
            seen.append(board.view(0).loading)

    with board.loading(0, 1):
        thread = threading.Thread(target=second)
        thread.start()
        started.wait(5)
        assert board.view(0).loading == 1
    thread.join()
    assert seen == [2]
    with board.loading(0, 3):
        assert board.mark_dead(0) == 3
    assert board.view(0).state is State.DEAD


def test_quarantine(tmp_path: Path) -> None:
    """Every process sees which versions are not to be loaded; one may be released; a new board begins empty."""
    board = make(tmp_path)
    for version in (4, 5, 4):
        board.quarantine(version)
    other = Board(tmp_path / "board")
    assert other.quarantined() == {4, 5}
    other.release(4)
    assert board.quarantined() == {5}
    assert make(tmp_path).quarantined() == frozenset()


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"x" * 10_000])
def test_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is no board is said to be none."""
    (tmp_path / "board").write_bytes(content)
    with pytest.raises(CorruptData, match="not a board"):
        Board(tmp_path / "board")


def test_the_board_of_a_running_server(tmp_path: Path) -> None:
    """The command line finds the board only while somebody serves the project."""
    assert running_board(tmp_path) is None
    lock = ProjectLock(tmp_path)
    assert running_board(tmp_path) is None
    Board.create(board_path(tmp_path), 1)
    assert running_board(tmp_path) is not None
    lock.release()
    assert running_board(tmp_path) is None


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    """A second lock is refused with the pid and the address of the first; after release it is free."""
    lock = ProjectLock(tmp_path)
    lock.announce("http://127.0.0.1:1")
    found = holder(tmp_path)
    assert found is not None
    assert (found.pid, found.url) == (os.getpid(), "http://127.0.0.1:1")
    with pytest.raises(Conflict, match=f"pid {os.getpid()} at http://127.0.0.1:1"):
        ProjectLock(tmp_path)
    lock.release()
    ProjectLock(tmp_path).release()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": 1, "url": "\xff"}', b"\x00" * 5000])
def test_a_lock_whose_words_cannot_be_read_is_still_a_lock(tmp_path: Path, content: bytes) -> None:
    """Somebody holds the project, who it is remains unknown: a second server is refused all the same."""
    lock = ProjectLock(tmp_path)
    (tmp_path / ".kaname" / "run" / "lock").write_bytes(content)
    found = holder(tmp_path)
    assert found is not None
    assert found.pid == 0
    with pytest.raises(Conflict):
        ProjectLock(tmp_path)
    lock.release()
