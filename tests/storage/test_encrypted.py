"""Artefacts at rest with a key: unreadable where they lie, readable with their key, gone from memory at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from kaname.clock import SystemClock
from kaname.errors import CorruptData, Unavailable
from kaname.settings import ArtefactSettings
from kaname.storage.blobs.bucket import BucketArtefacts
from kaname.storage.blobs.cache import NodeCache
from kaname.storage.blobs.file import ArtefactStore
from kaname.storage.blobs.opening import open_artefacts
from kaname.storage.blobs.remote import RemoteObjects
from kaname.storage.blobs.types import Artefacts, Source
from kaname.storage.sealing.keys import Keyring
from kaname.storage.sealing.rotation import Encryption

OLD, NEW = {"old": b"o" * 32}, {"new": b"n" * 32}
WORD = b"weights that nobody else may read"
Open = Callable[[Keyring], Artefacts]
Bytes = Callable[[], dict[str, bytes]]
"""Everything that lies in the store, by name."""


def cache(folder: Path, source: Source) -> NodeCache:
    return NodeCache(folder, 1 << 30, source)


@pytest.fixture(params=["folder", "bucket"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Open, Bytes]:
    """A store that is opened with other keys each time, and with an empty cache."""
    objects, nodes = RemoteObjects(MemoryStore(), "memory"), iter(range(100))

    def opened(keyring: Keyring) -> Artefacts:
        fresh = partial(cache, tmp_path / "nodes" / str(next(nodes)))
        if request.param == "folder":
            return ArtefactStore(tmp_path / "store", keyring, fresh)
        return BucketArtefacts(objects, objects, SystemClock(), fresh, keyring)

    def everything() -> dict[str, bytes]:
        if request.param == "folder":
            found = (path for path in (tmp_path / "store").rglob("*") if path.is_file())
            return {str(path.relative_to(tmp_path)): path.read_bytes() for path in found}
        return {each.name: objects.read(each.name)[0] for top in ("heads", "files") for each in objects.below(top)}

    return opened, everything


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "telling-name.onnx").write_bytes(WORD * 100)
    return tmp_path / "model"


def read(store: Artefacts, artefact: str) -> bytes:
    with store.hold(artefact) as place:
        return (place / "telling-name.onnx").read_bytes()


def test_nothing_readable_lies_in_the_store(kept: tuple[Open, Bytes], model: Path) -> None:
    """Neither a byte of the files nor their names nor the owner's key; the id is that of the content."""
    opened, everything = kept
    artefact = opened(Keyring(OLD)).publish(model)
    raw = repr(everything()).encode()
    for word in (WORD, b"telling-name", OLD["old"], b'"files"'):
        assert word not in raw
    assert artefact in raw.decode()
    assert read(opened(Keyring(OLD)), artefact) == WORD * 100
    assert artefact == ArtefactStore(model.parent / "plain").publish(model)


def test_what_was_plain_stays_readable_beside_what_is_not(kept: tuple[Open, Bytes], model: Path) -> None:
    """Keys come later: old artefacts stay as they were, new ones are encrypted; both are read, and counted apart."""
    opened, _ = kept
    plain = opened(Keyring()).publish(model)
    (model / "telling-name.onnx").write_bytes(b"other")
    sealed = opened(Keyring(OLD)).publish(model)
    store = opened(Keyring(OLD))
    assert (read(store, plain), read(store, sealed)) == (WORD * 100, b"other")
    counts = {use.key: use.count for use in Encryption(Keyring(OLD), [store]).uses()}
    assert counts == {"old": 1, None: 1}


def test_a_missing_key_is_named_and_another_one_of_its_name_does_not_open(
    kept: tuple[Open, Bytes], model: Path
) -> None:
    """The error says which key is needed; without any key, with others, and with one that only has the name."""
    opened, _ = kept
    artefact = opened(Keyring(OLD)).publish(model)
    for keyring in (Keyring(), Keyring(NEW)):
        with pytest.raises(Unavailable, match=f"{artefact}: encrypted with the key old, which is not listed"):
            opened(keyring).hold(artefact)
    with pytest.raises(CorruptData, match="the key old does not open it"):
        opened(Keyring({"old": b"x" * 32})).hold(artefact)


def test_rotation_changes_envelopes_only(kept: tuple[Open, Bytes], model: Path) -> None:
    """Afterwards the new key alone opens it, and no byte of a file was written; again there is nothing to do."""
    opened, everything = kept
    artefact = opened(Keyring(OLD)).publish(model)
    before = everything()
    both = Keyring({**NEW, **OLD})
    assert Encryption(both, [opened(both)]).rotate() == {"artefacts": 1}
    assert Encryption(both, [opened(both)]).rotate() == {"artefacts": 0}
    changed = [name for name, value in everything().items() if value != before[name]]
    assert len(changed) == 1
    assert "files/" not in changed[0]
    assert read(opened(Keyring(NEW)), artefact) == WORD * 100
    with pytest.raises(Unavailable, match="encrypted with the key new"):
        opened(Keyring(OLD)).hold(artefact)


def test_a_changed_byte_of_an_encrypted_file_is_found(tmp_path: Path, model: Path) -> None:
    """In the file, in the manifest, in the envelope: it is not given out."""
    store = ArtefactStore(tmp_path / "store", Keyring(OLD), partial(cache, tmp_path / "node"))
    artefact = store.publish(model)
    for name in ("0", "manifest.json", "envelope.kaname"):
        path = tmp_path / "store" / artefact / name
        good = path.read_bytes()
        path.chmod(0o600)
        for bad in (good[:-3] + bytes([good[-3] ^ 1]) + good[-2:], b"", good[: len(good) // 2]):
            path.write_bytes(bad)
            with pytest.raises(CorruptData):
                store.hold(artefact)
        path.unlink()
        with pytest.raises(CorruptData):
            store.hold(artefact)
        path.write_bytes(good)
    assert read(store, artefact) == WORD * 100


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Callable[[], Artefacts]]:
    """The store as a project has it, whose decrypted copies lie in memory."""
    made: list[Path] = []

    def opened() -> Artefacts:
        store = open_artefacts(ArtefactSettings(), tmp_path, SystemClock(), Keyring(OLD))
        assert isinstance(store, ArtefactStore)
        assert store._cache is not None
        made.append(store._cache._folder)
        return store

    yield opened
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


def test_decrypted_copies_lie_in_memory_and_leave_with_the_last_process(
    in_memory: Callable[[], Artefacts], model: Path, tmp_path: Path
) -> None:
    """No disk sees them; nobody else may look; the last one to close takes them along."""
    one, two = in_memory(), in_memory()
    held = one.hold(one.publish(model))
    assert held.folder.is_relative_to("/dev/shm")
    assert held.folder.parent.stat().st_mode & 0o077 == 0
    two.hold(held.folder.name).release()
    one.close()
    held.release()
    assert held.folder.exists()
    two.close()
    assert not held.folder.parent.exists()


def test_a_folder_in_memory_that_others_may_read_is_refused(in_memory: Callable[[], Artefacts], model: Path) -> None:
    """Somebody may have made it before: nothing is written there."""
    store = in_memory()
    artefact = store.publish(model)
    place = store.hold(artefact).folder.parent
    place.chmod(0o755)
    with pytest.raises(Unavailable, match="others may read"):
        store.hold(artefact)
    place.chmod(0o700)
    store.close()


@pytest.mark.parametrize(("here", "there"), [(None, None), (OLD, NEW), (None, OLD), (OLD, None)])
def test_artefacts_move_to_a_bucket_as_they_are(
    here: dict[str, bytes] | None, there: dict[str, bytes] | None, tmp_path: Path, model: Path
) -> None:
    """Plain or encrypted, on either side: the id stays, the files arrive, and a second time there is nothing to do."""
    folder = ArtefactStore(tmp_path / "store", Keyring(here), partial(cache, tmp_path / "one"))
    objects = RemoteObjects(MemoryStore(), "memory")
    bucket = BucketArtefacts(objects, objects, SystemClock(), partial(cache, tmp_path / "two"), Keyring(there))
    artefact = folder.publish(model)
    with folder.hold(artefact) as files:
        assert bucket.adopt(artefact, files)
        assert not bucket.adopt(artefact, files)
    assert read(bucket, artefact) == WORD * 100
