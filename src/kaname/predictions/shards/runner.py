"""Keeps one sink process of a node alive: whichever worker holds the lock starts it, and starts it anew."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import structlog

from kaname.storage.sole import Sole

log = structlog.get_logger(__name__)
LOOK_S = 1.0
LEAVE_S = 10.0


class SinkRunner:
    """A thread of each worker; it does something in one of them."""

    def __init__(self, command: Sequence[str], lock: Path) -> None:
        """`command` leaves when standard input is closed: when this worker is gone, however it went."""
        self._command = [sys.executable, "-m", "kaname.cli", *command]
        self._sole = Sole(lock)
        self._process: subprocess.Popen[bytes] | None = None
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kaname-sink", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the process after what it is doing. Blocks for a moment."""
        self._leave.set()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while not self._leave.wait(pause):
            pause = LOOK_S
            if self._sole.held() and (self._process is None or self._process.poll() is not None):
                self._begin()
        self._end()

    def _begin(self) -> None:
        if self._process is not None:
            log.error("the sink of the prediction log ended and is started again", status=self._process.returncode)
            self._close_input()
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603  (our own command)

    def _end(self) -> None:
        if self._process is not None:
            self._close_input()
            try:
                self._process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._sole.release()

    def _close_input(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
