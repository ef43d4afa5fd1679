"""One slot of the log of deferred requests: the thread that alone writes it, and what it does for the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from kaname.clock import Clock
from kaname.serving.deferred.types import ANSWERED, ASKED, DELIVERED, SHARD, Answered, Asked, Place, pack
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.lmdb.writer import LmdbWriter
from kaname.storage.events.types import Position, Sealer, partition_name

NEVER_BYTES, NEVER_DAYS = 1 << 40, 36_500.0
"""Nothing is deleted because it is old or large: only what was answered, and answers kept for long enough."""
RETRY_S = 0.2
TIDY_S = 5.0
_log = structlog.get_logger("kaname.deferred")

Taken = Callable[[Place | None], None]
"""Told on the loop where a request lies on the disk; None: it could not be taken."""


class Desk:
    """Raises Conflict when a live process has the slot, OSError when it cannot be opened."""

    def __init__(
        self,
        folder: Path,
        slot: int,
        reader: LmdbReader,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        max_bytes: int,
        keep_us: int,
        sealer: Sealer,
    ) -> None:
        """`sealer` encrypts requests and answers, where a key is active."""
        self.slot = slot
        self.partition = partition_name(SHARD, slot)
        self._writer = LmdbWriter(folder, slot, clock, retain_bytes=NEVER_BYTES, retain_days=NEVER_DAYS, sealer=sealer)
        self._reader = reader
        self._clock = clock
        self._loop = loop
        self._max_bytes = max_bytes
        self._keep_us = keep_us
        self._asked: list[tuple[Asked, Taken]] = []
        self._work: list[tuple[Callable[[], None], asyncio.Future[None]]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._tidied = 0.0
        self.position = reader.end(ANSWERED, self.partition)
        """The first request that is not answered."""
        self._thread = threading.Thread(target=self._run, name=f"deferred-{slot}", daemon=True)
        self._thread.start()

    # --- on the loop ------------------------------------------------------------------------------------

    def take(self, asked: Asked, taken: Taken) -> None:
        """Put a request on the disk; `taken` is told when it is there."""
        with self._lock:
            self._asked.append((asked, taken))
        self._wake.set()

    async def answered(self, answers: list[Answered]) -> None:
        """Put the answers to the next requests on the disk, in their order; returns when they are there."""

        def stage() -> None:
            events = [(one.answered_us, pack(one)) for one in answers]
            self._writer.append(ANSWERED, SHARD, events)
            self.position += len(answers)
            self._writer.trim(ASKED, SHARD, self.position)

        await self._done(stage)

    async def delivered(self, offset: int) -> None:
        """Remember that the webhook of an answer needs no more."""

        def stage() -> None:
            self._writer.append(DELIVERED, SHARD, [(self._clock.time_ns() // 1000, b"%d" % offset)])

        await self._done(stage)

    async def _done(self, stage: Callable[[], None]) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        with self._lock:
            self._work.append((stage, done))
        self._wake.set()
        await done

    def close(self) -> None:
        """Write what waits and let go of the slot. Blocks: on a thread."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        self._writer.close()

    # --- on the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.wait(TIDY_S)
            self._wake.clear()
            closing = self._closing
            with self._lock:
                asked, self._asked = self._asked, []
                work, self._work = self._work, []
            places = self._stage(asked)
            for stage, _ in work:
                stage()
            self._tidy()
            self._commit()
            self._tell(asked, places, work)
            if closing:
                return

    def _stage(self, asked: list[tuple[Asked, Taken]]) -> list[Place | None]:
        """Where each request will lie; None for those for which there is no room."""
        places: list[Place | None] = []
        for one, _ in asked:
            if self._writer.kept_bytes >= self._max_bytes:
                places.append(None)
            else:
                offset = self._writer.append(ASKED, SHARD, [(one.asked_us, pack(one))])
                places.append(Place(self.slot, offset, one.token))
        return places

    def _commit(self) -> None:
        """Commit, again and again while the disk refuses: callers have not been told anything yet."""
        complained = False
        while True:
            try:
                self._writer.commit()
            except OSError as error:
                if not complained:
                    _log.error("deferred requests cannot be written; their callers wait", error=str(error))
                complained = True
                if self._closing:
                    raise
                time.sleep(RETRY_S)
            else:
                return

    def _tidy(self) -> None:
        """Forget answers that were kept for long enough."""
        now = self._clock.monotonic_ns() / 1e9
        if now - self._tidied < TIDY_S:
            return
        self._tidied = now
        oldest_us = self._clock.time_ns() // 1000 - self._keep_us
        for topic in (ANSWERED, DELIVERED):
            before = 0
            for block in self._reader.blocks(topic, Position(self.partition, 0), 256):
                if block.last_us >= oldest_us:
                    break
                before = block.offset + block.count
            if before:
                self._writer.trim(topic, SHARD, before)

    def _tell(
        self,
        asked: list[tuple[Asked, Taken]],
        places: list[Place | None],
        work: list[tuple[Callable[[], None], asyncio.Future[None]]],
    ) -> None:
        def tell() -> None:
            for (_, taken), place in zip(asked, places, strict=True):
                taken(place)
            for _, done in work:
                if not done.done():
                    done.set_result(None)

        if asked or work:
            try:
                self._loop.call_soon_threadsafe(tell)
            except RuntimeError:
                return  # the loop has been closed: nobody waits there any more
