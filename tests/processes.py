"""Server processes that tests start, watch and end."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

from kaname.serving.workers.board import Board

T = TypeVar("T")


def until(look: Callable[[], T], what: str, timeout_s: float = 20.0) -> T:
    """Poll `look` until it returns something true."""
    end = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < end, f"waited {timeout_s} s in vain: {what}"
        time.sleep(0.005)
    return found


def stand_still(pid: int) -> None:
    """Wait until every thread of a process that was sent SIGSTOP has stopped: some may be answering meanwhile."""

    def stopped() -> bool:
        tasks = Path(f"/proc/{pid}/task")
        try:
            states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks.iterdir()]
        except (FileNotFoundError, ProcessLookupError):
            return not Path(f"/proc/{pid}").exists()  # a thread, or all of it, has ended meanwhile
        return all(state in "TtZX" for state in states)

    until(stopped, f"process {pid} stands still")


class Started:
    """A supervisor in a process of its own; its workers leave with it."""

    project: Path
    process: subprocess.Popen[bytes]
    port: int
    board: Board
    """Known once it has said where it answers."""

    def __init__(self, project: Path, *files: IO[bytes]) -> None:
        """`files` receive what it prints and are closed at its end."""
        self.project = project
        self._files = files

    def pids(self) -> set[int]:
        """The workers that accept connections."""
        return {view.pid for view in self.board.ready()}

    def signal(self, number: signal.Signals) -> None:
        """Send it to the supervisor."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """Drain; returns the exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        finally:
            self.close()

    def close(self) -> None:
        """End whatever is left."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        for file in self._files:
            file.close()
