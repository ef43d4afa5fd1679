"""The snapshot on disk: what a worker starts from while the control plane is down."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from kaname.errors import CorruptData
from kaname.serving.snapshot import Snapshot


def numbered(number: int) -> Snapshot:
    return Snapshot(number=number, models=(), keys=())


def test_an_older_snapshot_never_takes_the_place_of_a_newer_one(tmp_path: Path) -> None:
    """A worker that was slow to write does not send the next start back in time."""
    path = tmp_path / "snapshot"
    for number in (7, 9, 8, 3):
        numbered(number).save(path)
    assert Snapshot.load(path) == numbered(9)
    numbered(10).save(path)
    assert Snapshot.load(path) == numbered(10)


def test_of_many_writers_at_once_the_newest_stays(tmp_path: Path) -> None:
    """Whatever the order in which they get to write."""
    path = tmp_path / "snapshot"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: numbered(number).save(path), [*range(40), *reversed(range(40))]))
    assert Snapshot.load(path).number == 39


def test_a_database_put_back_from_a_copy_begins_anew(tmp_path: Path) -> None:
    """Its changes count from where the copy was taken; what it does not know is no reason to keep the old file."""
    path = tmp_path / "snapshot"
    numbered(9).save(path)
    numbered(4).save(path, anew=True)
    assert Snapshot.load(path).number == 4


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x80", b"\x81\xa6number\xa1\xff"])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    """It is no newer than anything."""
    path = tmp_path / "snapshot"
    path.write_bytes(content)
    numbered(1).save(path)
    assert Snapshot.load(path).number == 1


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x80", b"\x83\xa6number\x01\xa6models\xa1\xff\xa4keys\x90"])
def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path, content: bytes) -> None:
    """Whoever starts from it learns the place, whatever kind of damage it is."""
    path = tmp_path / "snapshot"
    path.write_bytes(content)
    with pytest.raises(CorruptData) as caught:
        Snapshot.load(path)
    assert caught.value.where == str(path)


def test_without_a_file_there_is_nothing_to_start_from(tmp_path: Path) -> None:
    """And that is not damage."""
    with pytest.raises(FileNotFoundError):
        Snapshot.load(tmp_path / "snapshot")


def test_a_worker_of_the_release_before_reads_what_the_next_one_kept(tmp_path: Path) -> None:
    """Settings of models, facts and groups that it does not know are left out; the rest is as it was written."""
    config = {"description": "d", "limits": {"queue": 7, "of_the_next": 1}, "of_the_next": {"deep": [1]}}
    info = {"id": 1, "name": "iris", "promoted": None, "previous": None, "loaded": True, "config": config}
    info |= {"created_us": 1, "etag": "1-1", "of_the_next": "x"}
    kept = {"number": 3, "models": [{"info": info, "versions": [], "of_the_next": 2}], "keys": [], "of_the_next": 3}
    (tmp_path / "snapshot").write_bytes(msgspec.msgpack.encode(kept))
    found = Snapshot.load(tmp_path / "snapshot")
    (entry,) = found.models
    assert (found.number, entry.info.name) == (3, "iris")
    assert (entry.info.config.description, entry.info.config.limits.queue) == ("d", 7)
