"""The prediction log in SQL as the rest of the platform uses it: read it, delete from it, keep it filled."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.predictions.shards.reader import ShardReader
from kaname.predictions.shards.shard import Shards
from kaname.predictions.shards.sink import Sink
from kaname.predictions.shards.types import ModelRow, RequestRow
from kaname.predictions.types import Subject
from kaname.storage.events.types import EventReader
from kaname.telemetry.logs import Throttle

log = structlog.get_logger(__name__)
IDLE_S = 0.25
FAILED_S = 1.0
RETIRE_NS = 60_000_000_000
DAY_US = 86_400_000_000


class Registry:
    """What the log needs to know of models; a change has another number."""

    def __init__(
        self, number: Callable[[], int], rows: Callable[[], list[ModelRow]], model_id: Callable[[str], int]
    ) -> None:
        """`model_id` finds a model by name or number and raises NotFound."""
        self.number = number
        self.rows = rows
        self.model_id = model_id


class SqlLog:
    """The eight shards of one project, and the events of this node that go there."""

    def __init__(
        self,
        shards: Shards,
        events: EventReader,
        registry: Registry,
        *,
        source: str,
        lock: Path,
        clock: Clock,
        retain_days: float,
    ) -> None:
        """`lock`: a file that says whose turn it is, the sink's or a deletion's."""
        self._shards = shards
        self._reader = ShardReader(shards)
        self._sink = Sink(events, shards, source, clock)
        self._registry = registry
        self._lock = lock
        self._clock = clock
        self._retain_us = int(retain_days * DAY_US)
        self._retired_ns: int | None = None
        self._number = -1
        self._throttle = Throttle(clock)

    def requests(
        self,
        model: str,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        trace_id: str | None = None,
        limit: int = 100,
    ) -> list[RequestRow]:
        """The newest requests of a model (name or number) in a span of time, or of a trace, from one shard. Raises
        NotFound."""
        number = self._registry.model_id(model)
        return self._reader.requests(number, since_us=since_us, until_us=until_us, trace_id=trace_id, limit=limit)

    def erase(self, subject: Subject) -> int:
        """Delete a subject's rows, when its events are gone from the log already; returns their number."""
        with self._turn():
            return self._reader.erase(subject)

    def run(self, leave: threading.Event) -> None:
        """Keep the shards filled until told to leave. What cannot be reached is tried again every second."""
        pause = 0.0
        while not leave.wait(pause):
            try:
                pause = 0.0 if self.step() else IDLE_S
            except KanameError as error:
                pause = FAILED_S
                held_back = self._throttle.due(error.message)
                if held_back is not None:
                    log.error("the prediction log waits", error=str(error), times_since_last_said=held_back)

    def step(self) -> int:
        """Move what there is now, and what changed of the models; delete what is too old. Returns the events moved."""
        with self._turn():
            moved = self._sink.turn(self._changed())
        now_ns = self._clock.monotonic_ns()
        if self._retired_ns is None or now_ns - self._retired_ns > RETIRE_NS:
            self._retired_ns = now_ns
            self._reader.retire(self._clock.time_ns() // 1000 - self._retain_us)
        return moved

    def _changed(self) -> list[ModelRow]:
        """Rows of all models after a change of any; none while the registry cannot be read."""
        try:
            number = self._registry.number()
            rows = [] if number == self._number else self._registry.rows()
        except KanameError:
            return []
        self._number = number
        return rows

    @contextmanager
    def _turn(self) -> Iterator[None]:
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close all connections."""
        self._shards.close()
