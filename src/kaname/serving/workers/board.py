"""The board: a memory-mapped file on which the processes of one run tell each other where they stand.

Every fact is one 8-byte cell, written by one process at a time; a sequence number makes a slot readable as a whole.
The supervisor claims slots and marks them dead; a worker writes the rest of its slot; anybody may read, the command
line included.

Switching all workers at once: each worker that has loaded change N reports `prepared(N)`. Whoever sees
`may_activate(N)` calls `activate(N)`, which sets one cell that all processes share. A worker whose prepared snapshot
is not newer than `activated` answers from it, looked up as each request comes in (0.2 µs). So from one instant on no
worker gives an old answer, whatever its event loop was busy with: nobody sees new, then old.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

import msgspec

from kaname.clock import Clock, SystemClock
from kaname.errors import CorruptData, Overloaded
from kaname.serving.workers.lock import holder
from kaname.serving.workers.types import data_folder

MAGIC = int.from_bytes(b"KANBRD01", "little")
HEADER_CELLS = 256
SLOT_CELLS = 16
QUARANTINE = range(128, HEADER_CELLS)
_SLOTS, _ACTIVATED, _NEWEST, _LEADER, _LED_NS, _ALLOWED, _ALLOWED_NS, _ELSEWHERE = range(1, 9)
_SEQ, _PID, _GENERATION, _SOCKET, _STATE, _PREPARED, _APPLIED, _HEARTBEAT, _LOADING = range(9)


class State(IntEnum):
    """Where a worker is in its life."""

    FREE = 0
    STARTING = 1
    READY = 2
    DRAINING = 3
    DEAD = 4
    JOINING = 5
    """Ready but for the changes that were activated while it started: others wait for it, clients do not reach it."""


ANSWERING = frozenset({State.READY, State.JOINING, State.DRAINING})
"""Workers that answer requests or are about to; one that drains still does on open connections."""


class SlotView(msgspec.Struct, frozen=True, kw_only=True):
    """What the board says of one slot at one moment.

    `prepared` and `applied` are journal numbers, `loading` the id of the version being loaded (0: none), `socket` the
    number of the listening socket, `heartbeat_ns` monotonic.
    """

    slot: int
    pid: int
    generation: int
    socket: int
    state: State
    prepared: int
    applied: int
    heartbeat_ns: int
    loading: int


class Board:
    """The board of one run, mapped into this process."""

    def __init__(self, path: Path, *, clock: Clock | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._loading = threading.Lock()
        self._writing = threading.Lock()
        self._activating = threading.Lock()
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        size = os.fstat(self._fd).st_size
        if size < 8 * HEADER_CELLS:
            os.close(self._fd)
            raise CorruptData("not a board of worker processes", where=str(path), found=f"{size} bytes")
        self._cells = memoryview(mmap.mmap(self._fd, size)).cast("q")
        self.slots = self._cells[_SLOTS]
        if self._cells[0] != MAGIC or len(self._cells) < HEADER_CELLS + SLOT_CELLS * self.slots:
            self.close()
            raise CorruptData("not a board of worker processes", where=str(path))

    @classmethod
    def create(cls, path: Path, slots: int, *, clock: Clock | None = None) -> Board:
        """A new, empty board for `slots` slots in place of what was at `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = [0] * (HEADER_CELLS + SLOT_CELLS * slots)
        cells[0], cells[_SLOTS] = MAGIC, slots
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(b"".join(cell.to_bytes(8, "little") for cell in cells))
        fresh.replace(path)
        return cls(path, clock=clock)

    def close(self) -> None:
        """Let go of the file; the board is not used afterwards."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # --- written by the supervisor ---------------------------------------------------------------------

    def claim(self, slot: int, *, socket: int, generation: int) -> None:
        """Give `slot` to a worker that is about to be started."""
        self._write(
            slot,
            {_PID: 0, _GENERATION: generation, _SOCKET: socket, _STATE: State.STARTING, _LOADING: 0}
            | {_PREPARED: 0, _APPLIED: 0, _HEARTBEAT: self._clock.monotonic_ns()},
        )

    def mark_dead(self, slot: int) -> int:
        """Write that the worker of `slot` is gone; returns the id of the version it was loading, or 0."""
        loading = self.view(slot).loading
        self._write(slot, {_STATE: State.DEAD, _PID: 0, _LOADING: 0})
        return loading

    # --- written by the worker of a slot ---------------------------------------------------------------

    def set_state(self, slot: int, state: State) -> None:
        """Where the worker of `slot` is; its pid is this process'."""
        self._write(slot, {_STATE: state, _PID: os.getpid(), _HEARTBEAT: self._clock.monotonic_ns()})

    def join(self, slot: int) -> int:
        """From now on changes wait for this worker, too. Returns the newest change that the others answer from: the
        worker catches up to it before it accepts connections, or its clients would see what others no longer give."""
        with self._all_locked():
            self.set_state(slot, State.JOINING)
            return self.activated

    def beat(self, slot: int) -> None:
        """A sign of life."""
        self._write(slot, {_HEARTBEAT: self._clock.monotonic_ns()})

    def report_prepared(self, slot: int, number: int) -> None:
        """Everything up to journal number `number` is loaded and warm, and can answer as soon as it is activated."""
        self._write(slot, {_PREPARED: number})

    def report_applied(self, slot: int, number: int) -> None:
        """Requests are answered as of journal number `number`."""
        self._write(slot, {_PREPARED: max(number, self.view(slot).prepared), _APPLIED: number})

    @contextmanager
    def loading(self, slot: int, version_id: int) -> Iterator[None]:
        """Say which version is being loaded, so that one that kills its worker is known. One at a time: others wait,
        so call it on the thread that loads, not on the event loop."""
        with self._loading:
            self._write(slot, {_LOADING: version_id})
            try:
                yield
            finally:
                self._write(slot, {_LOADING: 0})

    # --- read by anybody -------------------------------------------------------------------------------

    def view(self, slot: int) -> SlotView:
        """What the board says of `slot`."""
        base = HEADER_CELLS + SLOT_CELLS * slot
        for _ in range(1000):
            before = self._cells[base + _SEQ]
            cells = self._cells[base : base + SLOT_CELLS].tolist()
            if before % 2 == 0 and self._cells[base + _SEQ] == before:
                break
            time.sleep(0)  # a writer of this process may need the interpreter to finish
        return SlotView(
            slot=slot,
            pid=cells[_PID],
            generation=cells[_GENERATION],
            socket=cells[_SOCKET],
            state=State(cells[_STATE]),
            prepared=cells[_PREPARED],
            applied=cells[_APPLIED],
            heartbeat_ns=cells[_HEARTBEAT],
            loading=cells[_LOADING],
        )

    def ready(self) -> list[SlotView]:
        """The workers that accept connections and are alive."""
        views = [self.view(slot) for slot in range(self.slots)]
        return [view for view in views if view.state is State.READY and _alive(view.pid)]

    def live_slots(self) -> set[int]:
        """Slots whose worker's gauges mean something (`telemetry.expose`)."""
        views = [self.view(slot) for slot in range(self.slots)]
        return {view.slot for view in views if view.state not in (State.FREE, State.DEAD)}

    def laggards(self, number: int) -> list[str]:
        """A sentence for each live, ready worker that does not yet answer as of journal number `number`."""
        now = self._clock.monotonic_ns()
        return [
            f"worker {view.slot} (pid {view.pid}) has applied change {view.applied} of {number}"
            + (f", is loading version {view.loading}" if view.loading else "")
            + f", last sign of life {max(0, now - view.heartbeat_ns) / 1e9:.1f} s ago"
            for view in self.ready()
            if view.applied < number
        ]

    def wait_applied(self, number: int, timeout_s: float) -> list[str]:
        """Wait until every live worker answers as of journal number `number`; returns the laggards after `timeout_s`.

        Blocks: not for the event loop.
        """
        until = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while (late := self.laggards(number)) and self._clock.monotonic_ns() < until:
            self._sleep(0.003)
        return late

    # --- activation ------------------------------------------------------------------------------------

    @property
    def activated(self) -> int:
        """The newest journal number that workers which have it prepared answer from."""
        return self._cells[_ACTIVATED]

    def may_activate(self, number: int) -> bool:
        """Whether every worker that answers, or soon will, has prepared `number`."""
        return not self.behind(number)

    def behind(self, number: int) -> list[SlotView]:
        """The workers that answer, or soon will, and have not prepared `number`."""
        return [view for view in self._answering() if view.prepared < number]

    def is_skipped(self, number: int) -> bool:
        """Whether a worker has prepared a newer change instead: it could not answer from `number`, so that the others
        have to prepare the newer one as well."""
        return any(view.prepared > number for view in self._answering())

    def _answering(self) -> list[SlotView]:
        views = [self.view(slot) for slot in range(self.slots)]
        return [view for view in views if view.state in ANSWERING and _alive(view.pid)]

    def activate_if_prepared(self, number: int) -> bool:
        """`activate` if `may_activate`; no worker joins in between. Returns whether `number` is activated."""
        if not self.may_activate(number):
            return False
        with self._all_locked():
            if self.may_activate(number) and not self.is_skipped(number):
                self._cells[_ACTIVATED] = max(self._cells[_ACTIVATED], number)
        return self.activated >= number

    def activate(self, number: int) -> None:
        """Make all workers that have prepared `number` answer from it, from this instant; never goes back."""
        with self._all_locked():
            self._cells[_ACTIVATED] = max(self._cells[_ACTIVATED], number)

    # --- the node among others (see `nodes.agent`) ----------------------------------------------------------

    @property
    def newest(self) -> int:
        """The newest change that somebody on this node has heard of."""
        return self._cells[_NEWEST]

    def saw(self, number: int) -> None:
        """There is a change `number`."""
        with self._all_locked():
            self._cells[_NEWEST] = max(self._cells[_NEWEST], number)

    def lead(self, pid: int, now_ns: int, stale_ns: int) -> bool:
        """Whether `pid` is the process that speaks to the database; it is from now on if nobody was lately."""
        with self._all_locked():
            if self._cells[_LEADER] not in (0, pid) and now_ns - self._cells[_LED_NS] < stale_ns:
                return False
            self._cells[_LEADER], self._cells[_LED_NS] = pid, now_ns
            return True

    def resign(self, pid: int) -> bool:
        """Let another process lead; whether `pid` did."""
        with self._all_locked():
            led = self._cells[_LEADER] in (0, pid)
            if led:
                self._cells[_LEADER] = 0
            return led

    @property
    def allowed(self) -> int:
        """The change that all nodes switch to."""
        return self._cells[_ALLOWED]

    def allow(self, number: int, at_ns: int) -> None:
        """Nodes may answer from `number` from the moment `at_ns` (monotonic) on."""
        if number > self._cells[_ALLOWED]:
            self._cells[_ALLOWED_NS] = at_ns
            self._cells[_ALLOWED] = number

    def is_allowed(self, number: int) -> bool:
        """Whether the moment of `number` has come."""
        return self._cells[_ALLOWED] >= number and self._clock.monotonic_ns() >= self._cells[_ALLOWED_NS]

    @property
    def elsewhere(self) -> int:
        """The newest change that another node has prepared: who waits for an older one waits in vain."""
        return self._cells[_ELSEWHERE]

    @elsewhere.setter
    def elsewhere(self, number: int) -> None:
        self._cells[_ELSEWHERE] = number

    def standing(self) -> tuple[int, int, int, int]:
        """Of the workers that answer (while there are none, of those that start): how many they are, a version that one
        loads or 0, and the newest changes that all have prepared and applied."""
        views = self._answering()
        workers = len(views)
        views = views or [view for slot in range(self.slots) if (view := self.view(slot)).state is State.STARTING]
        loading = max((view.loading for view in views), default=0)
        prepared = min((view.prepared for view in views), default=0)
        return workers, loading, prepared, min((view.applied for view in views), default=0)

    # --- quarantine ------------------------------------------------------------------------------------

    def quarantined(self) -> frozenset[int]:
        """Ids of versions that are not to be loaded: each killed a worker twice."""
        return frozenset(self._cells[i] for i in QUARANTINE if self._cells[i])

    def quarantine(self, version_id: int) -> None:
        """Keep workers from loading this version until `release` or the next start of the supervisor."""
        if version_id in self.quarantined():
            return
        free = next((i for i in QUARANTINE if not self._cells[i]), None)
        if free is None:
            raise Overloaded("the quarantine is full", found=f"{len(QUARANTINE)} versions that kill workers")
        self._cells[free] = version_id

    def release(self, version_id: int) -> None:
        """Let workers try this version again."""
        for i in QUARANTINE:
            if self._cells[i] == version_id:
                self._cells[i] = 0

    @contextmanager
    def _all_locked(self) -> Iterator[None]:
        """Alone among all threads of all processes."""
        with self._activating:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _write(self, slot: int, cells: dict[int, int]) -> None:
        base = HEADER_CELLS + SLOT_CELLS * slot
        with self._writing:
            sequence = self._cells[base + _SEQ] | 1  # a writer that was killed half way left it odd
            self._cells[base + _SEQ] = sequence
            for cell, value in cells.items():
                self._cells[base + cell] = value
            self._cells[base + _SEQ] = sequence + 1


def board_path(project: Path) -> Path:
    """Where the board of `project` is."""
    return data_folder(project) / "board"


def running_board(project: Path, *, clock: Clock | None = None) -> Board | None:
    """The board of the server that runs on `project` now, or None: nobody to wait for."""
    if holder(project) is None:
        return None
    try:
        return Board(board_path(project), clock=clock)
    except FileNotFoundError:
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
