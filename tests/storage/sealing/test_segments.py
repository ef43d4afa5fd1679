"""The encrypted event log: nothing readable on the disk, nonces that never repeat, keys that come and go."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.errors import CorruptData, Unavailable
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.lmdb.writer import LmdbWriter
from kaname.storage.events.types import Position
from kaname.storage.sealing.keys import Keyring
from kaname.storage.sealing.rotation import Encryption
from kaname.storage.sealing.segments import DAY_NS, MAGIC, BlockOpener, BlockSealer, SegmentKeys

OLD, NEW = {"old": b"o" * 32}, {"new": b"n" * 32}
WORD = b"a name that nobody else may read"


def now_us() -> int:
    return time.time_ns() // 1000


def writer(folder: Path, keyring: Keyring, slot: int = 0) -> LmdbWriter:
    clock = SystemClock()
    return LmdbWriter(folder, slot, clock, sealer=BlockSealer(folder / str(slot), keyring, clock))


def write(folder: Path, keyring: Keyring, *values: bytes, slot: int = 0) -> None:
    """Append events and end."""
    live = writer(folder, keyring, slot)
    for value in values:
        live.append("t", "m", [(now_us(), value)])
    live.close()


def read(folder: Path, keyring: Keyring, slot: int = 0) -> list[bytes]:
    """All events of a slot."""
    reader = LmdbReader(folder, BlockOpener(folder, keyring))
    try:
        return [event.value for event in reader.read("t", Position(f"m/{slot}", 0), 1000)]
    finally:
        reader.close()


def stored(folder: Path) -> list[bytes]:
    """The blocks as they lie there."""
    reader = LmdbReader(folder)
    blocks = [block.value for block in reader.blocks("t", Position("m/0", 0), 1000)]
    reader.close()
    return blocks


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_events_come_back_and_lie_there_unreadable(tmp_path: Path) -> None:
    """No file of the log holds a word of them, nor the owner's key."""
    write(tmp_path, Keyring(OLD), WORD, b"second")
    assert read(tmp_path, Keyring(OLD)) == [WORD, b"second"]
    raw = everything(tmp_path)
    assert WORD not in raw
    assert OLD["old"] not in raw
    write(tmp_path, Keyring(), WORD)
    assert WORD in everything(tmp_path)


def test_plain_old_and_new_blocks_are_read_side_by_side(tmp_path: Path) -> None:
    """What was written before there were keys, under the first, and under the next, by writers that came and went."""
    write(tmp_path, Keyring(), b"plain")
    write(tmp_path, Keyring(OLD), b"old")
    write(tmp_path, Keyring({**NEW, **OLD}), b"new")
    write(tmp_path, Keyring(), b"plain again")
    assert read(tmp_path, Keyring({**NEW, **OLD})) == [b"plain", b"old", b"new", b"plain again"]
    with pytest.raises(Unavailable, match="encrypted with the key old, which is not listed; found new"):
        read(tmp_path, Keyring(NEW))
    with pytest.raises(Unavailable, match="found no keys"):
        read(tmp_path, Keyring())


def test_rotation_wraps_the_keys_anew_and_leaves_the_blocks(tmp_path: Path) -> None:
    """Afterwards the old key is not needed; the log's own file is the same, byte for byte."""
    write(tmp_path, Keyring(OLD), WORD)
    write(tmp_path, Keyring(OLD), b"other slot", slot=3)
    before = (tmp_path / "0" / "data.mdb").read_bytes()
    both = Encryption(Keyring({**NEW, **OLD}), [SegmentKeys(tmp_path, "prediction record")])
    assert [(use.key, use.count, use.active) for use in both.uses()] == [("new", 0, True), ("old", 2, False)]
    assert both.rotate() == {"prediction record": 2}
    assert both.rotate() == {"prediction record": 0}
    assert (tmp_path / "0" / "data.mdb").read_bytes() == before
    assert read(tmp_path, Keyring(NEW)) == [WORD]
    assert read(tmp_path, Keyring(NEW), 3) == [b"other slot"]


def test_a_live_writer_and_a_live_reader_do_not_notice_a_rotation(tmp_path: Path) -> None:
    """They go on with the data key that they have; what comes later is read with the new key, too."""
    before, both = Keyring(OLD), Keyring({**NEW, **OLD})
    live = writer(tmp_path, before)
    reader = LmdbReader(tmp_path, BlockOpener(tmp_path, before))
    for number in range(4):
        live.append("t", "m", [(now_us(), b"%d" % number)])
        live.commit()
        assert len(reader.read("t", Position("m/0", 0), 10)) == number + 1
        Encryption(both, [SegmentKeys(tmp_path, "prediction record")]).rotate()
    live.close()
    reader.close()
    assert read(tmp_path, Keyring(NEW)) == [b"0", b"1", b"2", b"3"]


def seal_some(sealer: BlockSealer, queue: multiprocessing.SimpleQueue[list[bytes]]) -> None:
    queue.put([sealer.seal("p", b"x")[: len(MAGIC) + 28] for _ in range(100)])


def test_no_nonce_is_used_twice_with_a_key(tmp_path: Path) -> None:
    """Over restarts of the writer, over days, and even in a forked copy of a writer: segment and nonce are unique."""
    sealer = BlockSealer(tmp_path, Keyring(OLD), SystemClock())
    heads = [sealer.seal("p", b"x")[: len(MAGIC) + 28] for _ in range(100)]
    queue: multiprocessing.SimpleQueue[list[bytes]] = multiprocessing.get_context("fork").SimpleQueue()
    child = multiprocessing.get_context("fork").Process(target=seal_some, args=(sealer, queue))
    child.start()
    heads += queue.get()
    child.join()
    seal_some(sealer, queue)
    heads += queue.get()
    seal_some(BlockSealer(tmp_path, Keyring(OLD), SystemClock()), queue)
    heads += queue.get()
    assert len(set(heads)) == len(heads) == 400


class Later(SystemClock):
    """A clock that somebody sets forward."""

    ahead_ns = 0

    def time_ns(self) -> int:
        return super().time_ns() + self.ahead_ns


def test_a_segment_ends_after_a_day(tmp_path: Path) -> None:
    """A data key does not get old: the next day's blocks have another one, and all are read."""
    clock = Later()
    live = LmdbWriter(tmp_path, 0, clock, sealer=BlockSealer(tmp_path / "0", Keyring(OLD), clock))
    for day in range(3):
        clock.ahead_ns = day * (DAY_NS + 1)
        live.append("t", "m", [(clock.time_ns() // 1000, b"%d" % day)])
        live.commit()
    live.close()
    assert len(list((tmp_path / "0" / "keys").iterdir())) == 3
    assert read(tmp_path, Keyring(OLD)) == [b"0", b"1", b"2"]


def flip(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


@pytest.mark.parametrize(
    "change", [lambda raw: flip(raw, -1), lambda raw: flip(raw, 24), lambda raw: raw[:-1], lambda raw: raw[:40]]
)
def test_a_changed_block_is_found(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    """A bit of the ciphertext or of the nonce, or a shorter block: an error names the partition."""
    write(tmp_path, Keyring(OLD), WORD)
    (block,) = stored(tmp_path)
    plain = LmdbWriter(tmp_path, 0, SystemClock())
    assert plain.rewrite("t", "m", 0, change(block))
    plain.close()
    with pytest.raises(CorruptData, match="t/m/0: an encrypted block was changed"):
        read(tmp_path, Keyring(OLD))


def test_a_block_opens_in_its_own_partition_only(tmp_path: Path) -> None:
    """Copied to another model's partition it is found out."""
    write(tmp_path, Keyring(OLD), WORD)
    (block,) = stored(tmp_path)
    opener = BlockOpener(tmp_path, Keyring(OLD))
    with pytest.raises(CorruptData):
        opener.open(0, "t/other/0", block)


def test_a_lost_or_damaged_envelope_is_said(tmp_path: Path) -> None:
    """Without the wrapped key the blocks are lost: the error names its file."""
    write(tmp_path, Keyring(OLD), WORD)
    (envelope,) = (tmp_path / "0" / "keys").iterdir()
    for content in (b"{}", b"\xff", None):
        envelope.write_bytes(content) if content is not None else envelope.unlink()
        with pytest.raises(CorruptData) as caught:
            read(tmp_path, Keyring(OLD))
        assert caught.value.where == str(envelope)


WRITE_AND_DIE = """
import os, sys
from pathlib import Path
from kaname.storage.sealing.keys import Keyring
from tests.storage.sealing.test_segments import OLD, now_us, writer
live = writer(Path(sys.argv[1]), Keyring(OLD))
for number in range(10**6):
    live.append("t", "m", [(now_us(), b"%d" % number)])
    live.commit()
    os.write(1, b"%d\\n" % number)
"""


def test_what_was_acknowledged_can_be_read_after_kill_9(tmp_path: Path) -> None:
    """The wrapped key is on disk before the first block that needs it, however soon the writer dies."""
    for _ in range(4):
        command = [sys.executable, "-c", WRITE_AND_DIE, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as dying:
            assert dying.stdout is not None
            dying.stdout.readline()
            dying.kill()
        assert read(tmp_path, Keyring(OLD))


def test_a_key_that_cannot_be_written_keeps_its_events_for_later(tmp_path: Path) -> None:
    """While there is a file in the way commits fail and lose nothing; afterwards all of it is written."""
    live = writer(tmp_path, Keyring(OLD))
    (tmp_path / "0" / "keys").write_text("in the way")
    live.append("t", "m", [(now_us(), WORD)])
    for _ in range(3):
        with pytest.raises(OSError):
            live.commit()
    (tmp_path / "0" / "keys").unlink()
    live.close()
    assert read(tmp_path, Keyring(OLD)) == [WORD]
