"""The worker processes of one run: starting them in slots, and what becomes of them when they die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

import structlog

from kaname.clock import Clock
from kaname.serving.workers.board import Board, State, board_path
from kaname.serving.workers.types import ServeOptions
from kaname.serving.workers.worker import WorkerOptions

log = structlog.get_logger(__name__)

BACK_OFF_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Pause before the first, second, … restart in a row."""
HEALTHY_S = 60.0
"""A worker that was ready for this long starts the back-off anew when it dies."""


class Running:
    """A worker process in its slot."""

    def __init__(self, slot: int, process: subprocess.Popen[bytes], started_ns: int) -> None:
        self.slot = slot
        self.process = process
        self.started_ns = started_ns
        self.leaving = False

    def terminate(self) -> None:
        """Ask the worker to drain and leave."""
        self.leaving = True
        self.process.send_signal(signal.SIGTERM)


class Place:
    """One listening socket and the worker that serves it; during a replacement also the worker that leaves."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker: Running | None = None
        self.deaths = 0
        self.not_before_ns = 0
        self.caught_up_to = 0
        """The change for which a worker was replaced that had been left behind; once is enough to try."""

    def died(self, worker: Running, now_ns: int) -> float:
        """Reckon with the unexpected death of `worker`; returns the pause before the next start in seconds."""
        if now_ns - worker.started_ns > HEALTHY_S * 1e9:
            self.deaths = 0
        pause = BACK_OFF_S[min(self.deaths, len(BACK_OFF_S) - 1)]
        self.deaths += 1
        self.not_before_ns = now_ns + int(pause * 1e9)
        self.worker = None
        return pause


class Fleet:
    """Starts and buries worker processes. There is one slot more than places: a replacement starts in the free one,
    so that what a slot owns (its log, its metrics) has one writer at any time."""

    def __init__(self, options: ServeOptions, board: Board, sockets: Sequence[socket.socket], clock: Clock) -> None:
        self._options = options
        self._board = board
        self._clock = clock
        self._fds = tuple(one.fileno() for one in sockets)
        self._generation = 0
        self._loading_deaths: dict[int, int] = {}
        self.running: list[Running] = []

    def start(self, place: Place) -> Running:
        """Start a worker for `place` in a free slot."""
        slot = min(set(range(self._board.slots)) - {one.slot for one in self.running})
        self._generation += 1
        self._board.claim(slot, socket=place.number, generation=self._generation)
        options = WorkerOptions(
            project=self._options.project,
            factory=self._options.factory,
            slot=slot,
            board=board_path(self._options.project),
            socket=place.number,
            sockets=self._fds,
            supervisor=os.getpid(),
            drain_s=self._options.drain_s,
            backlog=self._options.backlog,
        )
        process = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
            [sys.executable, "-m", "kaname.serving.workers", options.to_text()],
            pass_fds=self._fds,
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C reaches the supervisor alone, which then drains the workers
        )
        running = Running(slot, process, self._clock.monotonic_ns())
        self.running.append(running)
        return running

    def is_ready(self, worker: Running) -> bool:
        """Whether the worker accepts connections."""
        view = self._board.view(worker.slot)
        return view.state is State.READY and view.pid == worker.process.pid

    def is_behind(self, worker: Running) -> bool:
        """Whether the worker accepts connections, but the others answer from a change that it has not loaded."""
        return self.is_ready(worker) and self._board.view(worker.slot).prepared < self._board.activated

    def bury(self) -> list[Running]:
        """The workers that have ended since the last call; their slots are free again.

        A version that was being loaded at two unexpected deaths is put into quarantine.
        """
        ended = [one for one in self.running if one.process.poll() is not None]
        for one in ended:
            self.running.remove(one)
            loading = self._board.mark_dead(one.slot)
            if loading and not one.leaving:
                self._blame(loading)
        return ended

    def _blame(self, version_id: int) -> None:
        deaths = self._loading_deaths[version_id] = self._loading_deaths.get(version_id, 0) + 1
        if deaths >= 2:
            self._board.quarantine(version_id)
            log.error("version put into quarantine: loading it killed a worker twice", version_id=version_id)
        else:
            log.error("a worker died while it loaded a version", version_id=version_id)

    def kill_all(self) -> None:
        """End every worker at once, requests or not."""
        for one in self.running:
            one.process.kill()
        for one in self.running:
            one.process.wait()
        self.bury()
