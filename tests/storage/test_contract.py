"""What every store of artefacts promises: the local folder, objects in memory, a real S3 server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import pytest
from obstore.store import MemoryStore

from kaname.clock import SystemClock
from kaname.errors import CorruptData, InvalidInput, NotFound
from kaname.storage.blobs.bucket import BucketArtefacts
from kaname.storage.blobs.cache import NodeCache
from kaname.storage.blobs.file import ArtefactStore
from kaname.storage.blobs.opening import open_artefacts
from kaname.storage.blobs.remote import RemoteObjects
from kaname.storage.blobs.types import Artefacts, Source
from kaname.storage.sealing.keys import Keyring
from tests.processes import until
from tests.storage.s3 import CREDENTIALS, S3

HOUR_NS = 3_600_000_000_000
PLAIN = Keyring()
Open = Callable[[str], Artefacts]
"""Opens the store as another node would, with a cache of its own."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with S3(tmp_path_factory.mktemp("s3")) as running:
        yield running


KINDS = ["folder", "memory", pytest.param("s3", marks=[pytest.mark.services, pytest.mark.timeout(600)])]


@pytest.fixture(params=[PLAIN, Keyring({"a": bytes(32)})], ids=["plain", "encrypted"])
def keyring(request: pytest.FixtureRequest) -> Keyring:
    return cast("Keyring", request.param)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keyring: Keyring) -> Open:
    if request.param == "folder":
        return lambda node: ArtefactStore(tmp_path / "artefacts", keyring, partial(cached, tmp_path / node))
    if request.param == "memory":
        return partial(in_memory, RemoteObjects(MemoryStore(), "memory"), tmp_path, keyring=keyring)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    running: S3 = request.getfixturevalue("server")
    settings = running.settings(prefix=f"some/{tmp_path.name}")
    return lambda node: open_artefacts(
        msgspec.structs.replace(settings, cache_folder=str(tmp_path / node)), tmp_path, SystemClock(), keyring
    )


def cached(folder: Path, source: Source) -> NodeCache:
    return NodeCache(folder, 1 << 30, source)


def in_memory(objects: RemoteObjects, folder: Path, node: str, keyring: Keyring = PLAIN) -> Artefacts:
    return BucketArtefacts(objects, objects, SystemClock(), partial(cached, folder / node), keyring)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "code").mkdir(parents=True)
    (made / "model.onnx").write_bytes(b"weights" * 1000)
    (made / "code" / "a step, naïve.py").write_text("x = 1\n")
    (made / "empty").touch()
    return made


def test_what_one_node_publishes_another_one_reads(store: Open, folder: Path) -> None:
    """All files arrive, those in folders and empty ones too, under the same id everywhere."""
    artefact = store("a").publish(folder)
    with store("b").hold(artefact) as place:
        assert (place / "model.onnx").read_bytes() == b"weights" * 1000
        assert (place / "code" / "a step, naïve.py").read_text() == "x = 1\n"
        assert (place / "empty").read_bytes() == b""
    assert store("b").artefacts() == [artefact] == ArtefactStore(folder.parent / "plain").publish(folder).split()


def test_files_larger_than_a_request_arrive(store: Open, folder: Path) -> None:
    """A file of several parts, whose last one is short, is the same afterwards."""
    raw = bytes(range(256)) * 4096 * 17 + b"end"
    (folder / "model.onnx").write_bytes(raw)
    with store("b").hold(store("a").publish(folder)) as place:
        assert (place / "model.onnx").read_bytes() == raw


def test_the_same_content_is_stored_once(store: Open, folder: Path) -> None:
    """Publishing again, from another node too, gives the same id and one artefact; other content another id."""
    assert store("a").publish(folder) == store("b").publish(folder)
    (folder / "empty").write_bytes(b"x")
    assert len({store("a").publish(folder), *store("a").artefacts()}) == 2


def test_many_publish_the_same_content_at_once(store: Open, folder: Path) -> None:
    """Of eight that publish it at the same time all succeed, and what there is afterwards is one whole artefact."""
    found: list[str] = []
    threads = [threading.Thread(target=lambda n=n: found.append(store(str(n)).publish(folder))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert store("b").artefacts() == sorted(set(found))
    store("b").hold(found[0]).release()


def test_what_is_not_there_is_not_found_and_ids_are_checked(store: Open) -> None:
    """No id leads out of the store; an unknown one is not found, and deleting or touching it is nothing."""
    artefacts = store("a")
    with pytest.raises(NotFound):
        artefacts.hold("0" * 64)
    for name in ("../secret", "", "A" * 64, "0" * 63):
        for ask in (artefacts.hold, artefacts.delete, artefacts.touch):
            with pytest.raises(InvalidInput):
                ask(name)
    assert artefacts.delete("0" * 64)
    artefacts.touch("0" * 64)
    assert artefacts.artefacts() == []


def test_what_was_deleted_is_gone_and_may_come_again(store: Open, folder: Path) -> None:
    """Deleting is complete for nodes that never had it, may be repeated, and is undone by publishing."""
    artefact = store("a").publish(folder)
    assert store("a").delete(artefact)
    assert store("a").delete(artefact)
    assert store("b").artefacts() == []
    with pytest.raises(NotFound):
        store("b").hold(artefact)
    assert store("a").publish(folder) == artefact
    store("b").hold(artefact).release()
    assert store("b").artefacts() == [artefact]


def test_what_was_published_or_touched_lately_is_not_deleted(store: Open, folder: Path) -> None:
    """A time protects what is newer, published again or touched; what is older goes."""
    artefacts = store("a")
    artefact, now_ns = artefacts.publish(folder), time.time_ns()
    assert artefacts.artefacts(now_ns - HOUR_NS) == []
    assert not artefacts.delete(artefact, now_ns - HOUR_NS)
    assert artefacts.artefacts(now_ns + HOUR_NS) == [artefact]
    assert artefacts.delete(artefact, now_ns + HOUR_NS)
    again = artefacts.publish(folder)
    after_ns = time.time_ns()
    until(lambda: time.time_ns() > after_ns + 20_000_000, "a file system's clock has moved on")
    artefacts.touch(again)
    assert not artefacts.delete(again, after_ns)


def test_nothing_that_is_no_artefact_is_published(store: Open, folder: Path) -> None:
    """An empty folder, a link and a file in the manifest's place are refused and leave nothing behind."""
    (folder.parent / "nothing").mkdir()
    (folder.parent / "links").mkdir()
    (folder.parent / "links" / "passwd").symlink_to("/etc/passwd")
    (folder / "manifest.json").write_text("{}")
    for each in ("absent", "nothing", "links", "model"):
        with pytest.raises(InvalidInput):
            store("a").publish(folder.parent / each)
    assert store("a").artefacts() == []


def test_what_is_in_use_can_be_cleaned_around(store: Open, folder: Path) -> None:
    """Cleaning takes no part of an artefact away, however old it is."""
    artefact = store("a").publish(folder)
    store("a").clean(time.time_ns() + HOUR_NS)
    store("b").hold(artefact).release()


def test_damage_on_the_way_is_found(folder: Path, tmp_path: Path) -> None:
    """A byte of an object that changed in the store is found by whoever fetches it, by name; nothing is kept of it."""
    objects = RemoteObjects(MemoryStore(), "memory")
    artefact = in_memory(objects, tmp_path, "a").publish(folder)
    large = max(objects.below("files"), key=lambda stored: stored.size)
    objects.put(large.name, [b"weights" * 999 + b"weighty"])
    with pytest.raises(CorruptData, match=f"{artefact}/model.onnx"):
        in_memory(objects, tmp_path, "b").hold(artefact)
    assert not (tmp_path / "b" / artefact).exists()
    head, tag = objects.read(f"heads/{artefact}")
    assert objects.replace(f"heads/{artefact}", head.replace(b'"manifest":"', b'"manifest":"AAAA'), tag)
    with pytest.raises(CorruptData, match="does not match"):
        in_memory(objects, tmp_path, "b").hold(artefact)


def test_uploads_of_dead_publishers_are_cleaned_away(folder: Path, tmp_path: Path) -> None:
    """What was uploaded and never published goes when it is old: beside a whole artefact, or where there is none."""
    objects = RemoteObjects(MemoryStore(), "memory")
    artefacts = in_memory(objects, tmp_path, "a")
    artefact = artefacts.publish(folder)
    whole = {stored.name for stored in objects.below("files")}
    for name in (f"files/{artefact}/dead/0", f"files/{'0' * 64}/dead/0"):
        objects.put(name, [b"half"])
    artefacts.clean(time.time_ns() - HOUR_NS)
    assert len(list(objects.below("files"))) == len(whole) + 2
    artefacts.clean(time.time_ns() + HOUR_NS)
    assert {stored.name for stored in objects.below("files")} == whole
