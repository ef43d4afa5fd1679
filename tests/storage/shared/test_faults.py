"""A Redis that is killed, frozen, restarted or replaced: bounded waits, one error, and back to work by itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kaname.errors import InvalidInput, Unavailable
from kaname.storage.shared.address import parse
from kaname.storage.shared.redis import RedisStore
from kaname.storage.shared.types import Draw, Value
from tests.processes import until
from tests.redis_servers import RedisServer, ask, cluster, watched_master

from .conftest import redis_store


def works(store: RedisStore) -> bool:
    """Whether it takes and gives values, and grants rows, now."""
    try:
        store.put([Value("w", b"1", 60_000)])
        (drawn,) = store.draw([Draw("d", 1, 1, 1_000, 1_000)])
        return store.get(["w"]) == [b"1"] and drawn is not None and drawn.granted == 1
    except Unavailable:
        return False


def test_a_killed_server_is_unavailable_and_found_again_when_it_is_back(tmp_path: Path) -> None:
    """Each call fails at once; after the restart the same store works, without anybody's help."""
    with RedisServer(tmp_path) as server:
        store = redis_store(server.url)
        assert works(store)
        server.kill()
        for _ in range(3):
            with pytest.raises(Unavailable, match="Redis does not answer") as caught:
                store.get(["w"])
            assert caught.value.where == f"127.0.0.1:{server.port}"
        server.start()
        until(lambda: works(store), "the store works again")
        store.close()
        assert works(store), "a store that was closed connects anew"
        store.close()


def test_a_frozen_server_costs_its_timeout_and_no_more(tmp_path: Path) -> None:
    """SIGSTOP: the connection stays open and nothing comes; a connection made meanwhile fares no worse."""
    with RedisServer(tmp_path) as server:
        store, late = redis_store(server.url, timeout_ms=50), redis_store(server.url, timeout_ms=50)
        assert works(store)
        server.freeze()
        for one in (store, store, late):
            began = time.monotonic()
            with pytest.raises(Unavailable):
                one.draw([Draw("d", 1, 1, 1, 1)])
            assert time.monotonic() - began < 2
        server.thaw()
        until(lambda: works(store) and works(late), "both work again")
        store.close()
        late.close()


@pytest.mark.slow
def test_when_the_master_dies_the_sentinels_replica_takes_over(tmp_path: Path) -> None:
    """The same store goes on with the new master, and finds there what the replica had."""
    with watched_master(tmp_path) as (master, replica, url):
        store = redis_store(url)
        store.put([Value("kept", b"x", 600_000)])
        until(lambda: ask(replica.port, "get", "test:kept") == "x\n", "the replica has it, too")
        assert works(store)
        master.kill()
        assert not works(store)
        until(lambda: works(store), "the replica has taken over", 30)
        assert store.get(["kept"]) == [b"x"]
        store.close()


@pytest.mark.slow
def test_a_cluster_goes_on_without_one_of_its_nodes(tmp_path: Path) -> None:
    """What the dead node had is missing; everything else is there."""
    with cluster(tmp_path) as (nodes, url):
        store = redis_store(url)
        keys = [f"k{i}" for i in range(30)]
        store.put([Value(key, key.encode(), 600_000) for key in keys])
        assert store.get(keys) == [key.encode() for key in keys]
        nodes[1].kill()

        def most_found() -> bool:
            try:
                found = store.get(keys)
            except Unavailable:
                return False
            return 10 <= sum(one is not None for one in found) < 30

        until(most_found, "the keys of the two other nodes are found", 30)
        granted = store.draw([Draw(f"d{key}", 1, 1, 1_000, 1_000) for key in keys])
        assert {None if one is None else one.granted for one in granted} == {None, 1}
        store.close()


def test_passwords_are_asked_for_and_shown_nowhere(tmp_path: Path) -> None:
    """A wrong one is an error without the word; the right one works from the URL."""
    with RedisServer(tmp_path, "--requirepass", "s3cr3t-word") as server:
        place = f"127.0.0.1:{server.port}"
        right, wrong = redis_store(f"redis://:s3cr3t-word@{place}"), redis_store(f"redis://:wr0ng-word@{place}")
        assert works(right)
        for store in (wrong, redis_store(f"redis://{place}")):
            with pytest.raises(Unavailable) as caught:
                store.get(["k"])
            assert "word" not in str(caught.value).replace("password", "")
        assert "s3cr3t" not in repr(right._address)
        right.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("localhost:6379", "not an address"),
        ("http://h", "not an address"),
        ("redis+ring://h", "not an address"),
        ("redis://", "without a host"),
        ("redis://h:port", "the port"),
        ("redis://h:99999", "the port"),
        ("redis://h/zero", "the database"),
        ("redis://a,b", "one node has one host"),
        ("redis+sentinel://a:1", "which master"),
        ("redis+cluster://a:1/3", "one database"),
    ],
)
def test_what_is_no_address_is_refused_with_what_is(text: str, said: str) -> None:
    """The error names the setting; a password in the text is not repeated."""
    with pytest.raises(InvalidInput, match=said) as caught:
        parse(text.replace("://", "://user:t0ps3cret@", 1) if "://" in text else text, "shared.redis_url")
    assert caught.value.where == "shared.redis_url"
    assert "t0ps3cret" not in str(caught.value)


def test_addresses_say_what_they_mean() -> None:
    """Hosts, ports, names and numbers, with the defaults of each kind."""
    one = parse("rediss://me:p%40ss@[::1]:7000/2", "t")
    assert (one.kind, one.tls, one.hosts, one.database, one.username) == ("single", True, (("::1", 7000),), 2, "me")
    assert one.password is not None
    assert one.password.reveal() == "p@ss"
    watched = parse("redis+sentinel://a,b:1/main/3", "t")
    assert (watched.hosts, watched.master, watched.database) == ((("a", 26379), ("b", 1)), "main", 3)
    assert str(watched) == "a:26379,b:1/main"
    many = parse("redis+cluster://a,b:1", "t")
    assert (many.kind, many.hosts, many.password) == ("cluster", (("a", 6379), ("b", 1)), None)
