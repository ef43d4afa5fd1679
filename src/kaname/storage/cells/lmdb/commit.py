"""The thread that writes: everything that came while the last transaction became durable goes into the next one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from kaname.clock import Clock
from kaname.errors import DeadlineExceeded, KanameError, Unavailable
from kaname.storage.cells.lmdb import layout
from kaname.storage.cells.lmdb.applying import apply
from kaname.storage.cells.lmdb.catalog import Catalog
from kaname.storage.cells.lmdb.change import Asked, Batch
from kaname.storage.cells.lmdb.sweep import Sweep
from kaname.storage.mapped.environment import Environment, Transaction

LOG = logging.getLogger("kaname.cells")
MUTATIONS_AT_ONCE = 50_000
"""Most mutations in one transaction (at least one request): who comes next must not wait for ever."""
REST_S = 1.0
"""How often the store looks for what can be cleared."""
CLEARING_NS = 50_000_000
"""About how long it looks."""

Answer = Callable[[KanameError | None], None]
"""Told once: None, it is durable; or why it is not."""


class Committer:
    """Commits requests in groups, in the order of their coming."""

    def __init__(self, env: Environment, clock: Clock, limit_bytes: int) -> None:
        self._env = env
        self._clock = clock
        self._limit_bytes = limit_bytes
        self._catalog = Catalog()
        self._sweep = Sweep(env, self._catalog, limit_bytes)
        env.clear_dead_readers()
        self._swept_ns = clock.monotonic_ns()
        self._waiting: list[tuple[Asked, Answer]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="cells-commit", daemon=True)
        self._thread.start()

    def submit(self, asked: Asked, answer: Answer) -> None:
        """Queue a request; `answer` is called on the committing thread."""
        with self._changed:
            if not self._closing:
                self._waiting.append((asked, answer))
                self._changed.notify()
                return
        answer(Unavailable("the owner of the cell store has stopped"))

    def close(self) -> None:
        """Commit what was queued, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._closing:
                    self._changed.wait(REST_S)
                group = self._group()
            if group:
                self._commit(group)
            elif self._closing:
                return
            self._clear()

    def _group(self) -> list[tuple[Asked, Answer]]:
        size = count = 0
        for asked, _ in self._waiting:
            size += len(asked.change.mutations) if isinstance(asked.change, Batch) else 1
            if count and size > MUTATIONS_AT_ONCE:
                break
            count += 1
        group = self._waiting[:count]
        del self._waiting[:count]
        return group

    def _commit(self, group: Sequence[tuple[Asked, Answer]]) -> None:
        outcomes: list[KanameError | None]
        try:
            outcomes = self._env.durably(lambda txn: self._apply_all(txn, group), self._limit_bytes)
        except OSError as error:
            outcomes = [self._unwritten(error)] * len(group)
        except Exception as error:
            LOG.exception("a group of writes failed")
            outcomes = [Unavailable("the cell store failed", found=repr(error))] * len(group)
        for (_, answer), outcome in zip(group, outcomes, strict=True):
            answer(outcome)

    def _apply_all(self, txn: Transaction, group: Sequence[tuple[Asked, Answer]]) -> list[KanameError | None]:
        layout.FORMAT.stamp(txn)
        self._catalog.load(txn)
        return [self._apply(txn, asked) for asked, _ in group]

    def _apply(self, txn: Transaction, asked: Asked) -> KanameError | None:
        if self._clock.monotonic_ns() > asked.deadline_ns:
            return DeadlineExceeded("the write came too late to the owner of the cell store; nothing was written")
        try:
            apply(txn, self._catalog, asked.change, self._clock.time_ns() // 1000)
        except KanameError as error:
            return error
        return None

    def _unwritten(self, error: OSError) -> Unavailable:
        LOG.error("the cell store cannot write: %s", error)
        return Unavailable(
            "the cell store cannot write",
            where=str(self._env.path),
            found=str(error.strerror),
            expected=f"room on the disk, and less than {self._limit_bytes} bytes in the store",
        )

    def _clear(self) -> None:
        """Clear a little, once in a while, when nobody waits."""
        began_ns = self._clock.monotonic_ns()
        if began_ns - self._swept_ns < REST_S * 1e9:
            return
        self._swept_ns = began_ns
        try:
            self._env.clear_dead_readers()
            while self._sweep.step(self._clock.time_ns() // 1000) and not (self._waiting or self._closing):
                if self._clock.monotonic_ns() - began_ns > CLEARING_NS:
                    break
        except (OSError, KanameError):
            LOG.exception("the cell store cannot clear what is over")
