"""The shared store as a loop sees it: short waits, never the store's own; dead or frozen it soon costs nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kaname.clock import SystemClock
from kaname.resilience.breaker import BreakerRule
from kaname.storage.shared.exchange import Exchange
from kaname.storage.shared.memory import MemoryStore
from kaname.storage.shared.types import Draw, Drawn, SharedStore
from tests.redis_servers import RedisServer

from .conftest import redis_store

QUICK = BreakerRule(wait_ms=100)


def with_exchange(store: SharedStore, use: Callable[[Exchange], Any], lookup_ms: float = 20.0) -> None:
    """Run `use` on a loop with an exchange."""

    async def live() -> None:
        loop = asyncio.get_running_loop()
        exchange = Exchange(store, SystemClock(), loop, lookup_ms=lookup_ms, rule=QUICK)
        try:
            await use(exchange)
        finally:
            await asyncio.to_thread(exchange.close)

    asyncio.run(live())


async def got(exchange: Exchange, key: str) -> bytes | None:
    """The value of a key."""
    found: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
    exchange.get(key, bytes, found.set_result)
    return await found


async def drawn(exchange: Exchange, rows: int) -> Drawn | None:
    """What came of a draw from a bucket of ten."""
    found: asyncio.Future[Drawn | None] = asyncio.get_running_loop().create_future()
    exchange.draw(Draw("bucket", rows, rows, 0.001, 10), found.set_result)
    return await found


async def in_time(look: Callable[[], Any], what: str) -> None:
    """Ask until it is so; every question takes its turn on the loop."""
    async with asyncio.timeout(20):
        while not await look():
            await asyncio.sleep(0.005)


def test_values_and_draws_go_to_the_store_and_come_back() -> None:
    """In any number at once, each answered once."""

    async def use(exchange: Exchange) -> None:
        for i in range(600):
            exchange.put(f"k{i}", 10, lambda i=i: b"%d" % i, 60_000)  # type: ignore[misc]  # bound now

        async def last() -> bool:
            return await got(exchange, "k599") == b"599"

        await in_time(last, "all are kept")
        found = await asyncio.gather(*(got(exchange, f"k{i}") for i in range(600)), got(exchange, "none"))
        assert found == [*(b"%d" % i for i in range(600)), None]
        one, other = await asyncio.gather(drawn(exchange, 7), drawn(exchange, 7))
        assert one is not None
        assert other is not None
        assert sorted((one.granted, other.granted)) == [0, 7]

    with_exchange(MemoryStore(SystemClock()), use, lookup_ms=5_000)


def test_what_cannot_be_read_or_used_harms_nobody_else() -> None:
    """A callback that raises is logged; the next question is answered."""

    async def use(exchange: Exchange) -> None:
        def broken(_: object) -> None:
            raise RuntimeError("broken")

        exchange.get("k", bytes, broken)
        assert await got(exchange, "k") is None
        assert exchange.answers

    with_exchange(MemoryStore(SystemClock()), use, lookup_ms=5_000)


def test_a_frozen_store_costs_a_few_short_waits_and_then_nothing_until_it_is_back(tmp_path: Path) -> None:
    """SIGSTOP: the first questions wait 20 ms each, then answers come at once; after SIGCONT it is used again."""
    with RedisServer(tmp_path) as server:

        async def use(exchange: Exchange) -> None:
            exchange.put("k", 10, lambda: b"kept", 60_000)

            async def kept() -> bool:
                return await got(exchange, "k") == b"kept"

            await in_time(kept, "the value is there")
            server.freeze()
            began, waits = time.monotonic(), 0
            while exchange.answers:
                asked = time.monotonic()
                assert await got(exchange, "k") is None
                assert time.monotonic() - asked < 1
                waits += 1
            assert waits <= 20
            assert time.monotonic() - began < 5
            asked = time.monotonic()
            for _ in range(100):
                assert await got(exchange, "k") is None
                assert await drawn(exchange, 1) is None
            assert time.monotonic() - asked < 0.5
            server.thaw()
            await in_time(kept, "the store is used again")

        with_exchange(redis_store(server.url, timeout_ms=50), use)


def test_a_killed_store_is_left_alone_and_found_again(tmp_path: Path) -> None:
    """Draws say that nothing is known; after the restart rows are granted again."""
    with RedisServer(tmp_path) as server:

        async def use(exchange: Exchange) -> None:
            async def grants() -> bool:
                found = await drawn(exchange, 1)
                return found is not None and found.granted == 1

            await in_time(grants, "rows are granted")
            server.kill()
            while exchange.answers:
                assert await drawn(exchange, 1) is None
            server.start()
            await in_time(grants, "rows are granted again")

        with_exchange(redis_store(server.url, timeout_ms=50), use)


def test_puts_wait_in_bounded_memory() -> None:
    """While the thread is busy, what is too much to hold is let go of."""
    store = MemoryStore(SystemClock())

    async def use(exchange: Exchange) -> None:
        for i in range(100):
            exchange.put(f"k{i}", 1024 * 1024, lambda: b"x", 60_000)
        assert sum(1 for _ in exchange._puts) <= 16 + 1

    with_exchange(store, use)
