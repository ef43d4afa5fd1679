"""What a finished version is: renamed into place, or completed by its list of sums; never half of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kaname.clock import ManualClock, SystemClock
from kaname.repositories.finished import IN_PLACE, QUIET_S, SUMS, TOO_FAST, Finished
from tests.models.world import write_model
from tests.processes import until
from tests.repositories.publishing import moved, publish, staged, sums, ticked

COPIER = """
import sys, pathlib, time
source, target, part = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
target.mkdir()
with (target / "model.onnx").open("wb") as out:
    for byte in source.read_bytes()[:part]:
        out.write(bytes([byte]))
        out.flush()
        time.sleep(0.001)
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def finished() -> Finished:
    """By the real clock."""
    return Finished(SystemClock())


def test_a_renamed_folder_is_finished_at_once(finished: Finished, root: Path) -> None:
    """A rename publishes, also of folders in the folder."""
    assert finished(publish(root, "m", "1", 1.0)) is None
    deep = staged(root, 1.0)
    write_model(deep / "variables" / "w" / "x.onnx", 2.0)
    assert finished(moved(deep, root / "m" / "2")) is None


def test_a_folder_that_is_written_in_place_is_not(finished: Finished, root: Path) -> None:
    """A copier that works where the version will lie, alive, then killed half way: it is never finished."""
    source = write_model(root / "source.onnx", 1.0)
    target = root / "3"
    command = [sys.executable, "-c", COPIER, str(source), str(target), str(source.stat().st_size // 2)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as copier:
        until(target.is_dir, "the copier begins")
        said = {finished(target)}
        assert copier.stdout is not None
        copier.stdout.readline()
        said.add(finished(target))
        copier.send_signal(signal.SIGKILL)
        copier.wait()
    assert finished(target) == IN_PLACE
    assert None not in said


def test_touching_the_folder_says_that_it_is_finished(finished: Finished, root: Path) -> None:
    """`cp -r` leaves a folder older than its files; who knows that it is complete touches it, as `cp -a` does."""
    source = staged(root, 1.0)
    plain = Path(shutil.copytree(source, root / "1", copy_function=shutil.copyfile))
    with (plain / "model.onnx").open("ab") as out:
        ticked(plain)
        out.write(b"\n")
    assert finished(plain) == IN_PLACE
    ticked(plain)
    os.utime(plain, ns=(1, 1))
    assert finished(plain) is None
    subprocess.run(["cp", "-a", str(source), str(root / "2")], check=True)
    ticked(root / "2")
    assert finished(root / "2") in (None, TOO_FAST)


def test_what_was_made_within_one_tick_waits(root: Path) -> None:
    """Where the clock is too coarse to tell, the folder counts when it has been quiet for a while."""
    folder = root / "1"
    folder.mkdir()
    stands = folder.stat()
    assert stands.st_ctime_ns == stands.st_mtime_ns
    clock = ManualClock(stands.st_ctime_ns)
    assert Finished(clock)(folder) == TOO_FAST
    clock.advance(ms=QUIET_S * 1000 + 1)
    assert Finished(clock)(folder) is None


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: os.truncate(folder / SUMS, 20), "is not a line of sha256sum"),
        (lambda folder: (folder / SUMS).write_text(""), "does not list"),
        (lambda folder: (folder / "model.onnx").unlink(), "which is not there yet"),
        (lambda folder: os.truncate(folder / "model.onnx", 10), "is not yet what SHA256SUMS says"),
        (lambda folder: (folder / "late.bin").write_bytes(b"x"), "does not list late.bin"),
    ],
)
def test_sums_are_checked_whole(finished: Finished, root: Path, harm: Callable[[Path], object], says: str) -> None:
    """With a list, every file is in it, is there and is what it should be; where it was written does not matter."""
    folder = root / "1"
    write_model(folder / "model.onnx", 1.0)
    write_model(folder / "sub" / "other.onnx", 2.0)
    (folder / SUMS).write_text(sums(folder))
    assert finished(folder) is None
    harm(folder)
    assert says in str(finished(folder))


def test_the_list_of_the_real_program(finished: Finished, root: Path) -> None:
    """`find … -exec sha256sum` writes a list that is understood."""
    folder = root / "1"
    write_model(folder / "model.onnx", 1.0)
    write_model(folder / "sub" / "with space.onnx", 2.0)
    command = f"find . -type f ! -name {SUMS} -exec sha256sum {{}} + > {SUMS}"
    subprocess.run(["bash", "-ec", command], cwd=folder, check=True)
    assert finished(folder) is None
