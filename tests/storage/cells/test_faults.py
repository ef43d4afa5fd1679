"""The embedded store among processes that are killed, frozen and replaced while they write."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.errors import DeadlineExceeded
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.types import (
    CELL_BYTES,
    MAX_BATCH_BYTES,
    MAX_ROW_BYTES,
    MUTATION_BYTES,
    Delete,
    Family,
    Put,
    Table,
)
from tests.processes import until
from tests.storage.cells.conftest import Start, Started
from tests.storage.cells.peer import TABLE, WRITE_TIMEOUT_S

Open = Callable[..., LmdbCells]


def confirmed(process: Started, count: int) -> list[str]:
    """The next lines that a writing process prints."""
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def rest(process: Started) -> list[str]:
    """What a process that has ended still had printed."""
    assert process.stdout is not None
    return [line.strip() for line in process.stdout.read().splitlines()]


def rows(store: LmdbCells, name: str) -> dict[int, dict[bytes, bytes]]:
    """What is there of a writer's rows, by number."""
    found = store.scan(TABLE.name, name.encode(), name.encode() + b"\xff")
    return {int(row.key[len(name) :]): {cell.qualifier: cell.value for cell in row.cells["f"]} for row in found}


def assert_all_there(store: LmdbCells, name: str, lines: list[str]) -> None:
    """Every confirmed row is there with all its cells."""
    there = rows(store, name)
    for number in map(int, lines):
        assert there[number] == {b"number": b"%d" % number, b"again": f"{name}{number:06}".encode()}


def put(value: bytes = b"v", row: bytes = b"mine") -> list[Put]:
    """A batch of one cell."""
    return [Put(TABLE.name, row, "f", {b"q": value})]


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Open:
    """Opens stores that are closed after the test, in this process."""

    def made(folder: Path, write_timeout_s: float = WRITE_TIMEOUT_S) -> LmdbCells:
        store = LmdbCells(folder, SystemClock(), write_timeout_s=write_timeout_s)
        request.addfinalizer(store.close)
        return store

    return made


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 40, 333])
def test_every_confirmed_row_outlives_the_kill_of_the_owner(
    tmp_path: Path, start: Start, opened: Open, count: int
) -> None:
    """kill -9 at any moment: what was confirmed is there whole, and the next process writes on at once."""
    owner = start(tmp_path, "write", "a")
    lines = confirmed(owner, count)
    owner.kill()
    owner.wait()
    store = opened(tmp_path)
    assert_all_there(store, "a", lines + rest(owner))
    store.write(put())
    assert store.get(TABLE.name, b"mine")


@pytest.mark.slow
def test_two_processes_write_at_once_and_the_one_takes_over_when_the_other_is_killed(
    tmp_path: Path, start: Start, opened: Open
) -> None:
    """Neither loses a confirmed row; the one that lives sees no error, though its owner died while it wrote."""
    first = start(tmp_path, "write", "a")
    lines = confirmed(first, 10)
    second = start(tmp_path, "write", "b")
    others = confirmed(second, 50)
    first.kill()
    first.wait()
    others += confirmed(second, 200)
    second.kill()
    second.wait()
    store = opened(tmp_path)
    assert_all_there(store, "a", lines + rest(first))
    assert_all_there(store, "b", others + rest(second))


@pytest.mark.slow
def test_a_frozen_owner_costs_writers_an_error_in_time_and_readers_nothing(
    tmp_path: Path, start: Start, opened: Open
) -> None:
    """SIGSTOP: reads answer as before, writes raise DeadlineExceeded and name the owner; SIGCONT: all is well again."""
    owner = start(tmp_path, "write", "a")
    lines = confirmed(owner, 20)
    store = opened(tmp_path)
    store.write(put(b"before"))
    owner.send_signal(signal.SIGSTOP)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=f"process {owner.pid}"):
            store.write(put(b"meanwhile"))
        assert WRITE_TIMEOUT_S * 0.9 <= time.monotonic() - began < WRITE_TIMEOUT_S + 1
    began = time.monotonic()
    assert_all_there(store, "a", lines)
    assert store.get(TABLE.name, b"mine")
    assert time.monotonic() - began < WRITE_TIMEOUT_S / 2
    owner.send_signal(signal.SIGCONT)
    store.write(put(b"after"))
    assert store.get(TABLE.name, b"mine")["f"][0].value == b"after"
    own = confirmed(owner, 20)
    assert [line for line in own if not line.isdecimal()] in ([], ["deadline_exceeded"]), "what it was frozen in"


@pytest.mark.slow
def test_a_frozen_owner_that_is_killed_is_followed_by_another(tmp_path: Path, start: Start, opened: Open) -> None:
    """A writer that waits for a frozen owner goes on by itself when that is killed, within the same write."""
    owner = start(tmp_path, "write", "a")
    lines = confirmed(owner, 20)
    store = opened(tmp_path)
    store.write(put())
    owner.send_signal(signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        store.write(put())
    owner.kill()
    store.write(put(b"after"))
    owner.wait()
    assert_all_there(store, "a", lines + rest(owner))
    assert store.get(TABLE.name, b"mine")["f"][0].value == b"after"


@pytest.mark.slow
def test_a_frozen_peer_freezes_nobody(tmp_path: Path, start: Start, opened: Open) -> None:
    """SIGSTOP of a process that writes but does not own: everybody else writes on."""
    store = opened(tmp_path)
    store.define(TABLE)
    peer = start(tmp_path, "write", "b")
    confirmed(peer, 20)
    peer.send_signal(signal.SIGSTOP)
    for i in range(200):
        store.write(put(b"%d" % i))
    peer.send_signal(signal.SIGCONT)
    assert all(line.isdecimal() for line in confirmed(peer, 200))


@pytest.mark.slow
def test_an_owner_that_closes_is_followed_without_an_error(tmp_path: Path, start: Start, opened: Open) -> None:
    """A process writes all the while another one owns, closes and lets it take over."""
    owner = LmdbCells(tmp_path, SystemClock())
    owner.define(TABLE)
    peer = start(tmp_path, "write", "b")
    lines = confirmed(peer, 50)
    owner.close()
    lines += confirmed(peer, 200)
    assert_all_there(opened(tmp_path), "b", lines)


def test_nonsense_at_the_socket_harms_nobody(tmp_path: Path, opened: Open) -> None:
    """Bytes that are no request end the connection that they came on, or are answered; writes go on."""
    store, other = opened(tmp_path), opened(tmp_path)
    store.define(TABLE)
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\2hi", b"\0\0\0\xff"):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(tmp_path / "write.sock"))
            stranger.sendall(nonsense)
    other.write(put())
    assert store.get(TABLE.name, b"mine")


def test_a_socket_that_a_dead_owner_left_is_replaced(tmp_path: Path, opened: Open) -> None:
    """Nobody listens there any more: the next writer does."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "write.sock"))
    store, other = opened(tmp_path), opened(tmp_path)
    store.define(TABLE)
    other.write(put())
    assert store.get(TABLE.name, b"mine")


def test_a_map_that_another_process_has_grown_is_read_on(tmp_path: Path, start: Start, opened: Open) -> None:
    """More than the first map holds, written by the owner: this process finds the last row as it found the first."""
    owner = start(tmp_path, "own")
    assert confirmed(owner, 1) == ["owns"]
    store = opened(tmp_path)
    store.write(put(row=b"first"))
    for i in range(6):
        store.write(put(bytes(5_000_000), b"large%d" % i))
    assert store.get(TABLE.name, b"first")["f"][0].value == b"v"
    assert [len(row.cells["f"][0].value) for row in store.scan(TABLE.name, b"large")] == [5_000_000] * 5 + [5_000_000]


@pytest.mark.slow
def test_the_largest_batches_reach_the_owner(tmp_path: Path, opened: Open) -> None:
    """Of many mutations, many cells or many bytes: what is just not too large is written for a peer."""
    store, other = opened(tmp_path), opened(tmp_path)
    name, family, row = "n" * 48, "f" * 48, bytes(MAX_ROW_BYTES)
    store, other = opened(tmp_path, 30.0), opened(tmp_path, 30.0)
    store.define(Table(name, {family: Family()}))
    store.define(Table(name, {family: Family()}))
    row = bytes(MAX_ROW_BYTES)
    cells = (MAX_BATCH_BYTES - MUTATION_BYTES - MAX_ROW_BYTES) // (CELL_BYTES + 4)
    deletes = MAX_BATCH_BYTES // (MUTATION_BYTES + MAX_ROW_BYTES - 1)
    other.write([Put(name, row, family, {i.to_bytes(4, "big"): b"" for i in range(cells)}, 2**62)])
    other.write([Delete(name, row[1:], family, until_us=1)] * deletes)
    large = MAX_BATCH_BYTES // 8 - MUTATION_BYTES - CELL_BYTES - 1
    other.write([Put(name, b"%d" % i, family, {b"": bytes(large)}) for i in range(8)])
    assert len(store.get(name, row)[family]) == cells
    assert len(store.get_many(name, [b"%d" % i for i in range(8)])) == 8


def test_requests_of_owner_and_peer_take_the_same_way_in_a_folder_with_a_long_name(
    tmp_path: Path, opened: Open
) -> None:
    """The name of a socket ends at 107 bytes; a project's folder does not."""
    folder = tmp_path / ("long" * 30) / ("folder" * 20)
    store, other = opened(folder), opened(folder)
    store.define(TABLE)
    other.write(put())
    until(lambda: store.get(TABLE.name, b"mine"), "the row of the other")
