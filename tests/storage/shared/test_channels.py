"""What is published is heard by all who listen, through every kind of Redis."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from kaname.errors import Unavailable
from kaname.storage.shared.redis import RedisStore
from tests.processes import until
from tests.redis_servers import RedisServer
from tests.storage.shared.conftest import redis_store


@contextmanager
def listening(store: RedisStore, channel: str) -> Iterator[list[bytes]]:
    """What is heard, by a thread that ends with the block."""
    heard, left = list[bytes](), threading.Event()
    thread = threading.Thread(target=store.listen, args=[channel, heard.append, left.is_set])
    thread.start()
    try:
        yield heard
    finally:
        left.set()
        thread.join(10)
        store.close()
    assert not thread.is_alive()


def publishing(store: RedisStore, channel: str, data: bytes, heard: Callable[[], bool]) -> Callable[[], bool]:
    """Tell it once more, unless it has been heard: who listens may not have begun."""

    def told() -> bool:
        store.publish(channel, data)
        return heard()

    return told


@pytest.mark.parametrize("kind", ["single", "sentinel", "cluster"])
def test_what_is_published_is_heard_by_all_who_listen(urls: dict[str, str], kind: str) -> None:
    """Any bytes; those of another channel are not."""
    teller = redis_store(urls[kind])
    with listening(redis_store(urls[kind]), "a") as one, listening(redis_store(urls[kind]), "a") as other:
        until(publishing(teller, "a", b"\x00\xff", lambda: b"\x00\xff" in one and b"\x00\xff" in other), "it is heard")
        teller.publish("b", b"elsewhere")
        until(publishing(teller, "a", b"last", lambda: b"last" in one), "the last is heard")
        assert b"elsewhere" not in one
    teller.close()


def test_who_could_not_hear_is_told_so_and_hears_again(tmp_path: Path) -> None:
    """A killed server costs the teller an error; who listened knows that something may have been missed."""
    with RedisServer(tmp_path) as server:
        teller = redis_store(server.url)
        with listening(redis_store(server.url), "a") as heard:
            until(publishing(teller, "a", b"first", lambda: b"first" in heard), "it is heard")
            server.kill()
            with pytest.raises(Unavailable, match="Redis does not answer"):
                teller.publish("a", b"lost")
            until(lambda: b"" in heard, "a gap is told")
            server.start()
            until(publishing(teller, "a", b"second", lambda: b"second" in heard), "it is heard again")
        teller.close()


def test_threads_that_use_a_new_store_at_once_share_one_client(urls: dict[str, str]) -> None:
    """Who listens keeps its connection: none belongs to a client that another thread's took the place of."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(30):
            store = redis_store(urls["single"])
            with ThreadPoolExecutor(4) as threads, listening(store, "a") as heard:
                for answer in [threads.submit(store.get, ["missing"]) for _ in range(8)]:
                    assert answer.result(10) == [None]
                until(publishing(store, "a", b"told", lambda: b"told" in heard), "it is heard")
            assert b"" not in heard
    finally:
        sys.setswitchinterval(before)
