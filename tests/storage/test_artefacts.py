"""The artefact store: complete or absent, the same content once, and nothing half done survives a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kaname.errors import CorruptData, InvalidInput, NotFound
from kaname.storage.blobs.file import ArtefactStore

PUBLISH_FOREVER = """
import sys
from pathlib import Path
from kaname.storage.blobs.file import ArtefactStore
store, folder = ArtefactStore(Path(sys.argv[1])), Path(sys.argv[2])
print("ready", flush=True)
for n in range(10_000):
    (folder / "number").write_text(str(n))
    store.publish(folder)
    print(n, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "code").mkdir(parents=True)
    (made / "model.onnx").write_bytes(b"weights" * 1000)
    (made / "code" / "steps.py").write_text("x = 1\n")
    return made


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path / "artefacts")


def test_what_is_published_reads_back_and_verifies(store: ArtefactStore, folder: Path) -> None:
    """All files arrive, read-only, also those in folders."""
    artefact = store.publish(folder)
    place = store.path(artefact)
    assert (place / "model.onnx").read_bytes() == b"weights" * 1000
    assert (place / "code" / "steps.py").read_text() == "x = 1\n"
    assert (place / "model.onnx").stat().st_mode & 0o222 == 0
    store.verify(artefact)
    assert store.artefacts() == [artefact]


def test_the_same_content_is_stored_once_wherever_it_comes_from(
    store: ArtefactStore, folder: Path, tmp_path: Path
) -> None:
    """The id depends on names and bytes alone; Python's caches do not count."""
    artefact = store.publish(folder)
    twin = tmp_path / "twin"
    (twin / "code" / "__pycache__").mkdir(parents=True)
    (twin / "code" / "__pycache__" / "steps.pyc").write_bytes(b"?")
    (twin / "code" / "steps.py").write_text("x = 1\n")
    (twin / "model.onnx").write_bytes(b"weights" * 1000)
    assert store.publish(twin) == artefact
    (twin / "model.onnx").rename(twin / "other.onnx")
    assert store.publish(twin) != artefact


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "extra", "manifest", "no manifest"])
def test_verify_names_the_file_that_differs(store: ArtefactStore, folder: Path, damage: str) -> None:
    """Any change of a stored byte is found."""
    artefact = store.publish(folder)
    file = store.path(artefact) / {"manifest": "manifest.json", "no manifest": "manifest.json"}.get(
        damage, "model.onnx"
    )
    file.chmod(0o644)
    raw = file.read_bytes()
    if damage in ("remove", "no manifest"):
        file.unlink()
    elif damage == "extra":
        file = file.with_name("code") / "intruder.py"
        file.write_text("evil = True")
    else:
        file.write_bytes(raw[:-1] if damage == "truncate" else raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(CorruptData) as caught:
        store.verify(artefact)
    assert caught.value.where == str(file)


@pytest.mark.parametrize("instead", ["link", "folder", "pipe"])
@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_verify_finds_what_is_no_file_any_more(store: ArtefactStore, folder: Path, name: str, instead: str) -> None:
    """A link, a folder or a pipe in the place of a stored file is damage of the artefact, not a wrong request; and
    nothing waits for the pipe's other end."""
    artefact = store.publish(folder)
    file = store.path(artefact) / name
    kept = file.rename(folder.parent / "kept")
    if instead == "link":
        file.symlink_to(kept)
    elif instead == "folder":
        file.mkdir()
    else:
        os.mkfifo(file)
    with pytest.raises(CorruptData) as caught:
        store.verify(artefact)
    assert caught.value.where == str(file)


def test_a_name_that_no_manifest_can_hold_is_refused(store: ArtefactStore, folder: Path) -> None:
    """Bytes that are not UTF-8 in the name of a file are said as such, and leave nothing behind."""
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.bin"))).write_bytes(b"x")
    with pytest.raises(InvalidInput, match="not valid UTF-8"):
        store.publish(folder)
    assert store.artefacts() == []


def test_folders_that_cannot_be_copied_faithfully_are_refused(store: ArtefactStore, tmp_path: Path) -> None:
    """Nothing, links, pipes and a file named like the manifest are no artefact, and leave nothing behind."""
    for kind in ("absent", "empty", "link", "pipe", "manifest.json"):
        folder = tmp_path / kind
        if kind != "absent":
            folder.mkdir()
        if kind == "link":
            (folder / "passwd").symlink_to("/etc/passwd")
        elif kind == "pipe":
            os.mkfifo(folder / "pipe")
        elif kind == "manifest.json":
            (folder / kind).write_text("{}")
        with pytest.raises(InvalidInput):
            store.publish(folder)
    assert store.artefacts() == []
    assert list((tmp_path / "artefacts" / ".building").iterdir()) == []


def test_ids_are_checked_before_they_become_paths(store: ArtefactStore) -> None:
    """No id leads out of the folder; an unknown one is not found."""
    for name in ("../secret", "", "A" * 64, "0" * 63):
        with pytest.raises(InvalidInput):
            store.path(name)
    with pytest.raises(NotFound):
        store.path("0" * 64)


def test_deleting_is_complete_and_may_be_repeated(store: ArtefactStore, folder: Path) -> None:
    """A deleted artefact is gone and can be published again."""
    artefact = store.publish(folder)
    store.delete(artefact)
    store.delete(artefact)
    assert store.artefacts() == []
    assert store.publish(folder) == artefact


def test_unused_artefacts_go_when_they_are_old_enough(store: ArtefactStore, folder: Path) -> None:
    """Used ones stay whatever their age; publishing the same content again makes an old one new."""
    old, now_ns = store.publish(folder), time.time_ns()
    (folder / "model.onnx").write_bytes(b"2")
    used = store.publish(folder)
    (folder / "model.onnx").write_bytes(b"3")
    again = store.publish(folder)
    for artefact in (old, used, again):
        os.utime(store.path(artefact), ns=(0, 0))
    store.publish(folder)
    before_ns = now_ns - 3_600_000_000_000
    assert store.artefacts(before_ns) == sorted([old, used])
    assert [store.delete(artefact, before_ns) for artefact in (old, again)] == [True, False]
    assert store.artefacts() == sorted([used, again])


@pytest.mark.slow
def test_kills_while_publishing_leave_only_whole_artefacts(store: ArtefactStore, folder: Path, tmp_path: Path) -> None:
    """Twelve publishers are killed at different moments: what is visible verifies, what was begun is cleared away."""
    (folder / "model.onnx").write_bytes(os.urandom(4_000_000))
    command = [sys.executable, "-c", PUBLISH_FOREVER, str(tmp_path / "artefacts"), str(folder)]
    left_behind = 0
    for attempt in range(12):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            until = time.monotonic() + attempt * 0.004
            while time.monotonic() < until:
                pass
            process.send_signal(signal.SIGKILL)
        left_behind += len(list((tmp_path / "artefacts" / ".building").iterdir()))
    for artefact in store.artefacts():
        store.verify(artefact)
    assert left_behind > 0, "no kill hit a publish: the test proves nothing"
    store.publish(folder)
    assert list((tmp_path / "artefacts" / ".building").iterdir()) == []


def test_a_living_publisher_is_not_cleaned_away(store: ArtefactStore, folder: Path, tmp_path: Path) -> None:
    """Cleaning tells a folder whose process works on from one whose process is dead."""
    source = folder / "slow"
    code = (
        "import sys, fcntl, os; fd = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(fd, fcntl.LOCK_EX);"
        "print('locked', flush=True); sys.stdin.read()"
    )
    building = tmp_path / "artefacts" / ".building" / "theirs"
    building.mkdir()
    source.write_text("x")
    command = [sys.executable, "-c", code, str(building)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        store.publish(folder)
        assert building.exists()
        process.kill()
    store.clean()
    assert not building.exists()
