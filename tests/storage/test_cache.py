"""The node cache: one fetch for all, nothing in use goes, damage and death are repaired, a full disk is said."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kaname.errors import NotFound, Unavailable
from kaname.storage.blobs.file import ArtefactStore
from tests.processes import until
from tests.storage.events.test_faults import UNSHARE, may_mount
from tests.storage.filling import node

SIZE = 100_000


def publish(folder: Path, number: int, size: int = SIZE) -> str:
    """Another artefact of the store that `node` reads from."""
    model = folder / f"model-{number}"
    model.mkdir()
    (model / "model.onnx").write_bytes(number.to_bytes(2, "big") * (size // 2))
    return ArtefactStore(folder / "store").publish(model)


def fetched(folder: Path) -> list[str]:
    """Which artefacts were asked of the store, in order."""
    log = folder / "fetches"
    return [line.split()[1] for line in log.read_text().splitlines()] if log.exists() else []


def cached(folder: Path) -> set[str]:
    """What lies in the cache."""
    return {path.name for path in (folder / "cache").iterdir() if len(path.name) == 64}


@contextmanager
def process(folder: Path, artefact: str, how: str = "fast") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the artefact until it is told to end."""
    command = [sys.executable, "-m", "tests.storage.filling", str(folder), artefact, how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def said(started: subprocess.Popen[str]) -> Path:
    """Where a process holds its artefact; waits until it does."""
    assert started.stdout is not None
    return Path(started.stdout.readline().strip())


def test_an_entry_is_fetched_once_and_stays(tmp_path: Path) -> None:
    """What was fetched is used again, by another object on the same folder too, without asking the store."""
    artefact = publish(tmp_path, 1)
    with node(tmp_path).hold(artefact) as place:
        assert (place / "model.onnx").stat().st_size == SIZE
    shutil.rmtree(tmp_path / "store" / artefact)
    node(tmp_path).hold(artefact).release()
    assert fetched(tmp_path) == [artefact]


def test_the_least_recently_used_entry_goes_when_the_budget_is_spent(tmp_path: Path) -> None:
    """Of three that fit, the one that was not asked for the longest time makes room for the fourth."""
    first, second, third, fourth = (publish(tmp_path, number) for number in range(4))
    cache = node(tmp_path, budget=3 * SIZE + 50_000)
    for artefact in (first, second, third):
        cache.hold(artefact).release()
    for age, artefact in enumerate((first, third, second)):
        os.utime(tmp_path / "cache" / artefact, (1000 - age, 1000 - age))
    cache.hold(first).release()
    cache.hold(fourth).release()
    assert cached(tmp_path) == {first, third, fourth}
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("model.onnx")) <= 3 * SIZE + 50_000


def test_ten_thousand_need_not_fit(tmp_path: Path) -> None:
    """Many more artefacts than the budget holds pass through it, each whole, never more than the budget at once."""
    artefacts = [publish(tmp_path, number) for number in range(30)]
    cache = node(tmp_path, budget=5 * SIZE)
    for artefact in artefacts * 2:
        cache.hold(artefact).release()
        assert len(cached(tmp_path)) <= 5


def test_what_is_held_is_never_evicted_and_the_error_says_what_to_set(tmp_path: Path) -> None:
    """With everything in use the next one is refused with the budget that would do; after a release it fits."""
    first, second, third = (publish(tmp_path, number) for number in range(3))
    cache = node(tmp_path, budget=2 * SIZE)
    one, _two = cache.hold(first), cache.hold(second)
    with pytest.raises(Unavailable, match=f"artefacts.cache_bytes of {3 * SIZE} or more"):
        cache.hold(third)
    one.release()
    one.release()
    with cache.hold(third):
        assert cached(tmp_path) == {second, third}


def test_what_is_larger_than_the_whole_budget_is_refused(tmp_path: Path) -> None:
    """Nothing is evicted in vain and nothing is left behind."""
    small, large = publish(tmp_path, 1), publish(tmp_path, 2, 5 * SIZE)
    cache = node(tmp_path, budget=2 * SIZE)
    cache.hold(small).release()
    with pytest.raises(Unavailable, match=f"artefacts.cache_bytes of {5 * SIZE} or more"):
        cache.hold(large)
    assert cached(tmp_path) == {small}


def test_what_another_process_holds_stays_until_that_process_ends(tmp_path: Path) -> None:
    """A use counts for all processes of the node, and dies with its process, killed or not."""
    theirs, ours = publish(tmp_path, 1), publish(tmp_path, 2)
    cache = node(tmp_path, budget=SIZE)
    with process(tmp_path, theirs) as other:
        assert said(other).exists()
        with pytest.raises(Unavailable, match="in use"):
            cache.hold(ours)
    cache.hold(ours).release()
    assert cached(tmp_path) == {ours}


@pytest.mark.slow
def test_processes_that_want_the_same_fetch_it_once(tmp_path: Path) -> None:
    """Six processes ask at the same time; the store is asked once, and all get the whole artefact."""
    artefact = publish(tmp_path, 1, 4_000_000)
    with ExitStack() as running:
        processes = [running.enter_context(process(tmp_path, artefact, "slow")) for _ in range(6)]
        places = set(map(said, processes))
    assert len(places) == 1
    assert fetched(tmp_path) == [artefact]


def test_a_process_that_dies_while_it_fetches_leaves_nothing(tmp_path: Path) -> None:
    """After kill -9 in the middle the next one fetches at once, and what was begun is gone."""
    artefact = publish(tmp_path, 1, 8_000_000)
    with process(tmp_path, artefact, "slow"):
        until(lambda: list((tmp_path / "cache").glob(".filling/*-*/model.onnx")), "bytes have arrived")
    assert cached(tmp_path) == set()
    node(tmp_path).hold(artefact).release()
    assert fetched(tmp_path) == [artefact, artefact]
    assert list((tmp_path / "cache").glob(".filling/*-*")) == []


def test_a_process_that_is_frozen_while_it_fetches_is_not_waited_for_longer_than_said(tmp_path: Path) -> None:
    """Under SIGSTOP in the middle, another one does it itself; the frozen one finds its result when it goes on."""
    artefact = publish(tmp_path, 1, 4_000_000)
    with process(tmp_path, artefact, "slow") as frozen:
        until(lambda: list((tmp_path / "cache").glob(".filling/*-*/model.onnx")), "bytes have arrived")
        frozen.send_signal(signal.SIGSTOP)
        node(tmp_path, patience_s=0.2).hold(artefact).release()
        assert cached(tmp_path) == {artefact}
        frozen.send_signal(signal.SIGCONT)
        assert said(frozen).name == artefact
    node(tmp_path).hold(artefact).release()
    assert fetched(tmp_path) == [artefact, artefact]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "extra", "manifest"])
def test_a_damaged_entry_is_fetched_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever happened to its files, the next one to ask gets what was published; the log says what was wrong."""
    artefact = publish(tmp_path, 1)
    cache = node(tmp_path)
    cache.hold(artefact).release()
    place = tmp_path / "cache" / artefact
    file = place / ("manifest.json" if damage == "manifest" else "model.onnx")
    raw = file.read_bytes()
    if damage == "remove":
        file.unlink()
    elif damage == "extra":
        (place / "intruder.py").write_text("evil = True")
    else:
        file.write_bytes(raw[:-1] + (b"" if damage == "truncate" else b"?"))
    with cache.hold(artefact) as again:
        assert (again / "model.onnx").read_bytes() == (1).to_bytes(2, "big") * (SIZE // 2)
        assert sorted(path.name for path in again.iterdir()) == ["manifest.json", "model.onnx"]
    assert fetched(tmp_path) == [artefact, artefact]
    assert str(place) in caplog.text


def test_what_the_store_does_not_have_leaves_no_trace(tmp_path: Path) -> None:
    """An artefact that is not found takes no room and keeps nobody from asking again."""
    cache = node(tmp_path)
    with pytest.raises(NotFound):
        cache.hold("0" * 64)
    assert cached(tmp_path) == set()
    with pytest.raises(NotFound):
        cache.hold("0" * 64)


FULL_DISK = """
import sys
from pathlib import Path
from kaname.errors import Unavailable
from kaname.storage.blobs.cache import NodeCache
from kaname.storage.blobs.file import ArtefactStore
from tests.storage.filling import counted

disk, folder, artefact, small = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
cache = NodeCache(disk / "cache", 1 << 30, counted(ArtefactStore(folder / "store"), folder / "fetches"))
cache.hold(small).release()
try:
    cache.hold(artefact)
except Unavailable as error:
    print(error)
cache.hold(small).release()
print([path.name for path in (disk / "cache" / ".filling").iterdir() if path.is_dir()])
"""


def test_a_full_disk_is_said_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    """On a tmpfs that is too small the error names the folder and what to do; what was there before still is."""
    if not may_mount():
        pytest.skip("a tmpfs cannot be mounted here (unshare -m is not permitted)")
    disk, artefact, small = tmp_path / "disk", publish(tmp_path, 1, 4_000_000), publish(tmp_path, 2)
    disk.mkdir()
    script = 'mount -t tmpfs -o size=2m tmpfs "$1" && exec "$2" -c "$3" "$1" "$4" "$5" "$6"'
    arguments = [str(disk), sys.executable, FULL_DISK, str(tmp_path), artefact, small]
    done = subprocess.run([*UNSHARE, "sh", "-c", script, "sh", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    error, left = done.stdout.splitlines()
    assert error.startswith(f"{disk}/cache: the disk of the node cache is full")
    assert left == "[]"
