"""The entry of a worker process: `python -m kaname.serving.workers.worker OPTIONS`, started by the supervisor.

It builds the application, starts it, accepts connections, and leaves on SIGTERM without losing a request. Should the
supervisor die, the kernel sends that SIGTERM.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
import uvloop

from kaname.errors import InvalidInput, KanameError
from kaname.serving.workers.board import Board, State
from kaname.serving.workers.listening import HttpServer
from kaname.serving.workers.types import Worker
from kaname.telemetry import logs

HEARTBEAT_S = 0.1
RENEW_BEATS = 3
"""Heartbeats between two looks at the certificate; two looks make a renewal."""
FAILED_TO_START = 70
"""Exit status of a worker whose application could not be built or started: trying again will not help by itself."""
_PR_SET_PDEATHSIG = 1

log = structlog.get_logger(__name__)


GC_THRESHOLDS = (2_000, 5, 1_000)
"""A request leaves no reference cycle behind, so the collector has little to find; what stays are the versions that
are loaded one after the other. Small young generations look at those in pauses of 1 and 4 ms; with 50,000 and 20 a
pause among thousands of models was 336 ms."""


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor tells a worker, as JSON in its first argument.

    `sockets` are file descriptors of the run's listening sockets by number; `socket` is the number of its own.
    """

    project: Path
    factory: str
    slot: int
    board: Path
    socket: int
    sockets: tuple[int, ...]
    supervisor: int
    drain_s: float
    backlog: int

    def to_text(self) -> str:
        """As the argument of a process."""
        return msgspec.json.encode(self, enc_hook=str).decode()

    @classmethod
    def of_text(cls, text: str) -> WorkerOptions:
        """What `to_text` gave."""
        return msgspec.json.decode(text, type=cls, dec_hook=lambda kind, value: kind(value))


class Process:
    """One worker process from its start to its end."""

    def __init__(self, options: WorkerOptions, worker: Worker, board: Board) -> None:
        self._options = options
        self._worker = worker
        self._board = board
        self._leave = asyncio.Event()

    async def run(self) -> None:
        """Start, serve until told to leave, drain, stop."""
        options = self._options
        await self._worker.start()
        gc.collect()
        gc.freeze()  # what was loaded stays: the collector need not look at it again
        gc.set_threshold(*GC_THRESHOLDS)
        for fd in options.sockets:
            os.set_inheritable(fd, False)
        sockets = {number: socket.socket(fileno=fd) for number, fd in enumerate(options.sockets)}
        server = HttpServer(self._worker, sockets, options.backlog)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._leave.set)
        await server.tick()
        await server.accept_from({options.socket})
        self._board.set_state(options.slot, State.READY)
        await self._serve(server)
        self._board.set_state(options.slot, State.DRAINING)
        beating = asyncio.create_task(self._beat())
        await server.leave(options.drain_s)
        await self._worker.stop()
        beating.cancel()

    async def _serve(self, server: HttpServer) -> None:
        beats = 0
        while not self._leave.is_set():
            self._board.beat(self._options.slot)
            await server.accept_from(self._sockets_to_serve(server))
            if beats % round(1 / HEARTBEAT_S) == 0:
                await server.tick()
            if beats % RENEW_BEATS == 0:
                await server.renew()
            beats += 1
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._leave.wait()
            except TimeoutError:
                continue

    async def _beat(self) -> None:
        while True:
            self._board.beat(self._options.slot)
            await asyncio.sleep(HEARTBEAT_S)

    def _sockets_to_serve(self, server: HttpServer) -> set[int]:
        """This worker's own socket; for the first of the ready workers also those whose worker is gone."""
        options = self._options
        ready = self._board.ready()
        wanted = {options.socket}
        if ready and ready[0].slot == options.slot:
            served = {view.socket for view in ready}
            wanted |= {n for n in range(len(options.sockets)) if n not in served and server.listening(n)}
        return wanted


def build(factory: str, project: Path, slot: int, board: Board) -> Worker:
    """The Worker that `module:function` makes; raises InvalidInput where there is no such function."""
    module, _, name = factory.partition(":")
    try:
        make: Callable[[Path, int, Board], Worker] = getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise InvalidInput(
            f"no function that builds a worker: {error}", found=repr(factory), expected="module:function"
        ) from error
    return make(project, slot, board)


def main(argument: str) -> int:
    """Run one worker process; returns its exit status."""
    options = WorkerOptions.of_text(argument)
    _leave_with(options.supervisor)
    logs.configure(slot=options.slot)
    board = Board(options.board)
    board.set_state(options.slot, State.STARTING)
    try:
        worker = build(options.factory, options.project, options.slot, board)
        process = Process(options, worker, board)
    except Exception as error:  # noqa: BLE001  (said, and told to the supervisor by the status)
        return _failed(error)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(process.run())
    except Exception as error:  # noqa: BLE001
        return _failed(error) if board.view(options.slot).state is State.STARTING else _crashed(error)
    return 0


def _failed(error: Exception) -> int:
    if isinstance(error, KanameError):
        log.error("worker cannot start", error=str(error), code=error.code)
    else:
        log.error("worker cannot start", exc_info=error)
    return FAILED_TO_START


def _crashed(error: Exception) -> int:
    log.error("worker failed", exc_info=error)
    return 1


def _leave_with(supervisor: int) -> None:
    """Have the kernel send SIGTERM when the supervisor dies, and leave at once if it already has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:
        raise SystemExit(0)
