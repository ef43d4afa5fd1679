"""Real faults: killed and frozen writers, a disk that fills up."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.errors import Conflict
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.lmdb.writer import LmdbWriter
from kaname.storage.events.types import Position

WRITER = """
import os, sys, time
from pathlib import Path
from kaname.clock import SystemClock
from kaname.storage.events.lmdb.writer import LmdbWriter

writer = LmdbWriter(Path(sys.argv[1]), int(sys.argv[2]), SystemClock())
number = writer.append("t", "m", [])
while True:
    now = time.time_ns() // 1000
    for _ in range(3):
        writer.append("t", "m", [(now, b"%d" % (number + i)) for i in range(5)])
        number += 5
    writer.commit()
    os.write(1, b"%d\\n" % number)
"""

FULL_DISK = """
import errno, os, sys, time
from pathlib import Path
from kaname.clock import SystemClock
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.lmdb.writer import LmdbWriter
from kaname.storage.events.types import Position

folder = Path(sys.argv[1])
ballast = folder / "ballast"
writer = LmdbWriter(folder, 0, SystemClock())
staged = 0

def stage(count):
    global staged
    for _ in range(count):
        now = time.time_ns() // 1000
        writer.append_block("t", "m", 1, now, now, b"%d " % staged + bytes(50_000))
        staged += 1

stage(4)
writer.commit()
with ballast.open("wb") as file:
    try:
        while True:
            file.write(bytes(65536))
            file.flush()
    except OSError:
        pass
failures = 0
while failures < 5:
    stage(2)
    try:
        writer.commit()
    except OSError as error:
        assert error.errno in (errno.ENOSPC, errno.EIO), error
        failures += 1
ballast.unlink()
writer.commit()
stage(1)
writer.close()
reader = LmdbReader(folder)
found = []
position = Position("m/0", 0)
while blocks := reader.blocks("t", position, 50):
    found += [int(block.value.split(b" ")[0]) for block in blocks]
    position = Position("m/0", blocks[-1].offset + 1)
assert found == list(range(staged)), (found, staged)
print("recovered", staged, "after", failures)
"""


def start_writer(folder: Path, slot: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(slot)], stdout=subprocess.PIPE)


def acknowledged(writer: subprocess.Popen[bytes]) -> int:
    assert writer.stdout is not None
    return int(writer.stdout.readline())


def kill(writer: subprocess.Popen[bytes]) -> int:
    """Kill -9; returns the last acknowledged number of events."""
    writer.kill()
    rest, _ = writer.communicate()
    lines = rest.split(b"\n")[:-1]
    return int(lines[-1]) if lines else 0


def test_kill_9_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    """A writer is killed at random moments, eight times; every acknowledged event is there, none is torn."""
    chance = random.Random(11)
    for _ in range(8):
        writer = start_writer(tmp_path, 0)
        last = acknowledged(writer)
        time.sleep(chance.uniform(0.0, 0.05))
        last = max(last, kill(writer))
        reader = LmdbReader(tmp_path)
        events = reader.read("t", Position("m/0", 0), 10**6)
        reader.close()
        assert len(events) >= last
        assert len(events) <= last + 15  # at most the commit that was not acknowledged yet
        assert [int(event.value) for event in events] == [event.offset for event in events] == list(range(len(events)))


def test_a_restarted_worker_takes_over_the_slot_of_a_killed_one(tmp_path: Path) -> None:
    """While a process lives its slot is refused to others; after kill -9 it is taken at once, offsets go on."""
    writer = start_writer(tmp_path, 0)
    acknowledged(writer)
    with pytest.raises(Conflict, match=f"process {writer.pid}"):
        LmdbWriter(tmp_path, 0, SystemClock())
    last = kill(writer)
    began = time.monotonic()
    successor = LmdbWriter(tmp_path, 0, SystemClock())
    assert successor.append("t", "m", [(time.time_ns() // 1000, b"next")]) >= last
    successor.commit()
    assert time.monotonic() - began < 2.0
    successor.close()


def test_a_frozen_writer_stops_neither_other_slots_nor_readers(tmp_path: Path) -> None:
    """Under SIGSTOP in the middle of its work, slot 0 keeps nobody: slot 1 commits, all partitions are read."""
    for _ in range(5):
        frozen = start_writer(tmp_path, 0)
        last = acknowledged(frozen)
        try:
            frozen.send_signal(signal.SIGSTOP)
            writer = LmdbWriter(tmp_path, 1, SystemClock())
            began = time.monotonic()
            for i in range(20):
                writer.append("t", "m", [(time.time_ns() // 1000, b"%d" % i)])
                writer.commit()
            reader = LmdbReader(tmp_path)
            assert len(reader.read("t", Position("m/0", 0), 10**6)) >= last
            assert len(reader.read("t", Position("m/1", 0), 10**6)) >= 20
            assert time.monotonic() - began < 5.0
            reader.close()
            writer.close()
        finally:
            frozen.send_signal(signal.SIGCONT)
            kill(frozen)


def may_mount() -> bool:
    """Whether a private tmpfs can be had (as root, or in a user namespace of one's own)."""
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


UNSHARE = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]


def test_a_full_disk_is_an_error_that_passes_and_loses_nothing(tmp_path: Path) -> None:
    """On a full tmpfs commits raise OSError and keep what was staged; when space returns all of it is written."""
    if not may_mount():
        pytest.skip("a tmpfs cannot be mounted here (unshare -m is not permitted)")
    script = 'mount -t tmpfs -o size=4m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    found = subprocess.run(
        [*UNSHARE, "sh", "-c", script, "sh", str(tmp_path), sys.executable, FULL_DISK],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("recovered")


def test_a_file_size_limit_is_an_error_that_passes(tmp_path: Path) -> None:
    """The same without any privilege: RLIMIT_FSIZE stands in for the disk's end and is raised again."""
    script = """
import resource, signal, sys, time
from pathlib import Path
from kaname.clock import SystemClock
from kaname.storage.events.lmdb.writer import LmdbWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = LmdbWriter(Path(sys.argv[1]), 0, SystemClock())
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
now = time.time_ns() // 1000
refused = 0
for _ in range(30):
    writer.append_block("t", "m", 1, now, now, bytes(60_000))
    try:
        writer.commit()
    except OSError:
        refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.close()
print(refused)
"""
    found = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) > 5
    reader = LmdbReader(tmp_path)
    assert len(reader.blocks("t", Position("m/0", 0), 100)) == 30
    reader.close()


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    """A file in the place of the folder is reported by the operating system's own error."""
    (tmp_path / "log").write_text("not a folder")
    with pytest.raises(OSError) as caught:
        LmdbWriter(tmp_path / "log", 0, SystemClock())
    assert caught.value.errno in (errno.EEXIST, errno.ENOTDIR)
