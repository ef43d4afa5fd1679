"""Small writes of an event loop: joined, confirmed each by itself, never waited for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.errors import DeadlineExceeded, InvalidInput, KanameError, NotFound, Overloaded, Unavailable
from kaname.storage.cells.gathering import MOST_WAITING, Gathering
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.memory import MemoryCells
from kaname.storage.cells.types import CellWriter, Family, Mutation, Put, Table

TABLE = Table("t", {"f": Family()})


def put(number: int, table: str = "t") -> Put:
    """A row of one cell."""
    return Put(table, b"%06d" % number, "f", {b"q": b"%d" % number}, 1)


class Counting:
    """Counts the batches that reach a store, and holds them back while its gate is closed."""

    def __init__(self, store: CellWriter) -> None:
        self.batches = 0
        self.gate = threading.Event()
        self.arrived = threading.Event()
        self._store = store

    def write(self, mutations: Sequence[Mutation]) -> None:
        self.arrived.set()
        assert self.gate.wait(20)
        self.batches += 1
        self._store.write(mutations)


def outcomes_of(writer: CellWriter, batches: Sequence[Sequence[Mutation]]) -> list[KanameError | None]:
    """What came of batches that were all told before the first was done."""

    async def run() -> list[KanameError | None]:
        loop = asyncio.get_running_loop()
        gathering = Gathering(writer, loop)
        futures: list[asyncio.Future[KanameError | None]] = [loop.create_future() for _ in batches]
        for batch, future in zip(batches, futures, strict=True):
            gathering.write(batch, future.set_result)
        if isinstance(writer, Counting):
            writer.gate.set()
        outcomes = await asyncio.gather(*futures)
        await asyncio.to_thread(gathering.close)
        return outcomes

    return asyncio.run(run())


def test_thousands_of_small_writes_are_a_few_batches(tmp_path: Path) -> None:
    """Each is confirmed when it is durable, and all are there."""
    store = LmdbCells(tmp_path, SystemClock())
    store.define(TABLE)
    counting = Counting(store)
    assert outcomes_of(counting, [[put(i)] for i in range(5000)]) == [None] * 5000
    assert counting.batches <= 3
    assert [row.key for row in store.scan("t")] == [b"%06d" % i for i in range(5000)]
    store.close()


def test_a_write_at_fault_fails_alone() -> None:
    """Its neighbours in the batch are written; each is told what its own fault is."""
    store = MemoryCells(SystemClock())
    store.define(TABLE)
    batches = [[put(i)] for i in range(100)]
    batches[17] = [put(17), put(1017, "missing")]
    batches[50] = [Put("t", b"", "f", {b"q": b"v"})]
    counting = Counting(store)
    outcomes = outcomes_of(counting, batches)
    assert [i for i, outcome in enumerate(outcomes) if outcome] == [17, 50]
    assert isinstance(outcomes[17], NotFound)
    assert isinstance(outcomes[50], InvalidInput)
    assert len(list(store.scan("t"))) == 98
    assert counting.batches < 40, "halves, not one by one"


@pytest.mark.parametrize(
    ("raised", "told"), [(DeadlineExceeded("frozen"), DeadlineExceeded), (RuntimeError("a fault"), Unavailable)]
)
def test_a_store_that_fails_is_told_to_all(raised: Exception, told: type[KanameError]) -> None:
    """Nobody waits for ever, and the thread goes on with what comes next."""

    class Failing:
        def write(self, mutations: Sequence[Mutation]) -> None:
            raise raised

    assert {type(outcome) for outcome in outcomes_of(Failing(), [[put(i)] for i in range(20)])} == {told}


def test_what_is_too_much_is_refused_and_what_waits_is_written_at_the_end() -> None:
    """A store that does not move: a bounded number of mutations waits, no more; closing writes them, then refuses."""
    store = MemoryCells(SystemClock())
    store.define(TABLE)
    counting = Counting(store)

    async def run() -> None:
        gathering = Gathering(counting, asyncio.get_running_loop())
        gathering.write([put(0)], lambda _: None)
        await asyncio.to_thread(counting.arrived.wait, 20)
        gathering.write([put(1)] * (MOST_WAITING - 1), lambda _: None)
        gathering.write([put(2)], lambda _: None)
        with pytest.raises(Overloaded, match="too many writes wait"):
            gathering.write([put(3)], lambda _: None)
        counting.gate.set()
        await asyncio.to_thread(gathering.close)
        with pytest.raises(Unavailable):
            gathering.write([put(4)], lambda _: None)

    asyncio.run(run())
    assert [row.key for row in store.scan("t")] == [b"000000", b"000001", b"000002"]
