"""The supervisor: holds the sockets and the project's lock, keeps one worker alive per socket, and lets them leave.

SIGTERM and SIGINT drain all workers and end (a second one ends at once). SIGHUP replaces the workers one by one, unless
it says that the terminal was closed, which ends the server as well. Run it in the main thread of its process.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

from kaname.clock import Clock, SystemClock
from kaname.serving.workers import sockets as listening
from kaname.serving.workers.board import Board, board_path
from kaname.serving.workers.first_loads import first_loads_path
from kaname.serving.workers.fleet import Fleet, Place, Running
from kaname.serving.workers.lock import ProjectLock
from kaname.serving.workers.types import ServeOptions
from kaname.serving.workers.worker import FAILED_TO_START

log = structlog.get_logger(__name__)

BUSY_TICK_S = 0.02
IDLE_TICK_S = 0.5
KILL_AFTER_S = 5.0
"""A worker that has not left this long after its drain time is killed."""
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def say_ready(url: str) -> None:
    """Print the address."""
    sys.stdout.write(f"Kaname answers at {url}\n")
    sys.stdout.flush()


class Supervisor:
    """One run of a server on a project folder; `run` returns the exit status when it is over."""

    def __init__(
        self,
        options: ServeOptions,
        *,
        on_ready: Callable[[str], None] = say_ready,
        clock: Clock | None = None,
        lock: ProjectLock | None = None,
    ) -> None:
        """`lock`: the project's, where the caller has it already; `run` releases it."""
        self._options = options
        self._given_lock = lock
        self._on_ready = on_ready
        self._clock = clock or SystemClock()
        self._places = [Place(number) for number in range(options.workers)]
        self._stopping = 0
        self._restart_asked = False
        self._on_terminal = _on_terminal()
        self._announced = False
        self._gave_up = False

    def run(self) -> int:
        """Serve until told to stop; 0 after a drain, 1 where no worker could start.

        Raises Conflict if the project is being served already, InvalidInput if the address cannot be bound.
        """
        self._lock = self._given_lock or ProjectLock(self._options.project)
        try:
            self._sockets = listening.bind(self._options.host, self._options.port, self._options.workers)
            listening.raise_open_files()
            self._board = Board.create(board_path(self._options.project), self._options.workers + 1, clock=self._clock)
            first_loads_path(self._options.project).write_bytes(b"")
            self._fleet = Fleet(self._options, self._board, self._sockets, self._clock)
            with self._signals() as wake:
                self._wake = wake
                return self._supervise()
        finally:
            for one in getattr(self, "_sockets", ()):
                one.close()
            self._lock.release()

    # --- life ------------------------------------------------------------------------------------------

    def _supervise(self) -> int:
        try:
            while not self._stopping and not self._gave_up:
                self._tend()
                self._replace_those_behind()
                if self._restart_asked:
                    self._replace_all()
                self._wait(IDLE_TICK_S if self._steady() else BUSY_TICK_S)
            self._drain()
        finally:
            self._fleet.kill_all()
        return 1 if self._gave_up else 0

    def _tend(self) -> None:
        """Bury the dead, start what is missing and due, announce the address once all are ready that can be."""
        for worker in self._fleet.bury():
            self._reckon(worker)
        now = self._clock.monotonic_ns()
        for place in self._places:
            if place.worker is None and now >= place.not_before_ns and not self._gave_up:
                place.worker = self._fleet.start(place)
        ready = [p for p in self._places if p.worker and self._fleet.is_ready(p.worker)]
        if not self._announced and ready and all(p in ready or p.deaths for p in self._places):
            self._announced = True
            url = listening.address(self._sockets[0], self._options.scheme)
            self._lock.announce(url)
            self._on_ready(url)

    def _steady(self) -> bool:
        return self._announced and all(p.worker and self._fleet.is_ready(p.worker) for p in self._places)

    def _reckon(self, worker: Running) -> None:
        place = next((p for p in self._places if p.worker is worker), None)
        if place is None:
            return  # it had been replaced
        status = worker.process.returncode
        if status == FAILED_TO_START and not self._announced:
            log.error("giving up: no worker can start")
            self._gave_up = True
            return
        pause = place.died(worker, self._clock.monotonic_ns())
        log.error("worker ended unexpectedly", worker=worker.slot, status=_said(status), restart_in_s=pause)

    # --- replacement -----------------------------------------------------------------------------------

    def _replace_all(self) -> None:
        self._restart_asked = False
        log.info("replacing the workers one by one")
        for place in self._places:
            if self._stopping or not self._replace(place):
                return
        log.info("all workers are replaced")

    def _replace(self, place: Place) -> bool:
        """Start a second worker on the same socket, and let the first leave when that one accepts connections."""
        old = place.worker
        if old is None:
            return True  # it is being restarted anyway
        new = self._fleet.start(place)
        until = self._clock.monotonic_ns() + int(self._options.start_s * 1e9)
        while not self._fleet.is_ready(new):
            if self._stopping:
                return False
            if new.process.poll() is not None or self._clock.monotonic_ns() > until:
                new.process.kill()
                new.process.wait()
                log.error("the replacement does not start; the present workers go on", worker=new.slot)
                self._tend()
                return False
            self._tend()
            self._wait(BUSY_TICK_S)
        old, place.worker = place.worker, new
        if old is not None:
            self._leave([old])
        return True

    def _replace_those_behind(self) -> None:
        """Take workers that the others have switched without out of service before their replacements are ready: their
        answers are of the past. A replacement loads the newest change before it accepts connections."""
        for place in self._places:
            worker, activated = place.worker, self._board.activated
            if worker is not None and place.caught_up_to < activated and self._fleet.is_behind(worker):
                log.error("replacing a worker that was left behind", worker=worker.slot, change=activated)
                place.caught_up_to = activated
                place.worker = None
                self._leave([worker])

    def _leave(self, workers: list[Running]) -> None:
        """Let these workers drain; kill what is still there after the drain time."""
        for one in workers:
            one.terminate()
        until = self._clock.monotonic_ns() + int((self._options.drain_s + KILL_AFTER_S) * 1e9)
        while any(one in self._fleet.running for one in workers):
            if self._stopping > 1 or self._clock.monotonic_ns() > until:
                for one in workers:
                    one.process.kill()
            self._wait(BUSY_TICK_S)
            if self._stopping:
                self._fleet.bury()
            else:
                self._tend()

    def _drain(self) -> None:
        """Let go of the sockets first: the last worker to leave then knows that nobody waits in them."""
        self._stopping = max(self._stopping, 1)
        for one in self._sockets:
            one.close()
        self._leave(list(self._fleet.running))

    # --- signals ---------------------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[int]:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        before = {one: signal.signal(one, self._handle) for one in HANDLED}
        wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(wakeup)
            for one, handler in before.items():
                signal.signal(one, handler)
            os.close(reading)
            os.close(writing)

    def _handle(self, number: int, _: FrameType | None) -> None:
        closed = number == signal.SIGHUP and self._on_terminal and not _on_terminal()
        if closed or number in (signal.SIGTERM, signal.SIGINT):
            self._stopping += 1
        elif number == signal.SIGHUP:
            self._restart_asked = True

    def _wait(self, seconds: float) -> None:
        """Sleep until a signal comes or the time is over."""
        if select.select([self._wake], [], [], seconds)[0]:
            os.read(self._wake, 4096)


def _on_terminal() -> bool:
    """Whether standard input is a terminal that is still there."""
    try:
        os.tcgetpgrp(0)
    except OSError:
        return False
    return True


def _said(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
