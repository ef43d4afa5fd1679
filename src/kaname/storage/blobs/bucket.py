"""Artefacts in an object store: uploaded aside, published by one conditional write, read through a node cache.

Under the prefix lie `files/<id>/<upload>/<number>`, the files of one upload in the order of the manifest, and
`heads/<id>`, which says which upload is the artefact and holds its manifest. The head is written last, create-only: a
reader sees all of an artefact or nothing, and of two that publish the same content one wins. An empty head stands for
an artefact that was deleted: it stays, so that nobody's new copy can be taken for the old one.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
from blake3 import blake3

from kaname.clock import Clock
from kaname.errors import CorruptData, InvalidInput, NotFound, Unavailable
from kaname.storage.blobs.cache import NodeCache
from kaname.storage.blobs.manifest import (
    MANIFEST,
    FileEntry,
    Manifest,
    check_id,
    checked,
    manifest_of,
    parse_manifest,
    pieces,
    read_manifest,
)
from kaname.storage.blobs.types import Contents, Held, Objects, Source, Stored
from kaname.storage.sealing.files import opened, sealed, sealed_size
from kaname.storage.sealing.keys import Envelope, Keyring

HEADS, FILES = "heads", "files"
_GONE = b""
_ATTEMPTS = 10


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the object `heads/<id>` says."""

    format: int = 1
    upload: str
    touched_us: int
    """When it was last published; also makes every head differ from the one before, as conditional writes need it."""
    manifest: bytes
    """Encrypted like the files where there is an envelope."""
    envelope: Envelope | None = None


class BucketArtefacts:
    """`Artefacts` in an object store. `hasty` reaches the same objects and gives up soon, for housekeeping."""

    name = "artefacts"

    def __init__(
        self, objects: Objects, hasty: Objects, clock: Clock, cache: Callable[[Source], NodeCache], keyring: Keyring
    ) -> None:
        """`cache` makes the node cache of what it is given to read from."""
        self._keyring = keyring
        self._objects = objects
        self._hasty = hasty
        self._clock = clock
        self._cache = cache(self.contents)

    def publish(self, folder: Path) -> str:
        """See `Artefacts.publish`."""
        manifest = manifest_of(folder)
        raw = msgspec.json.encode(manifest)
        artefact = blake3(raw).hexdigest()
        if not self._touched(artefact):
            self._upload(folder, artefact, manifest, raw)
        return artefact

    def adopt(self, artefact: str, folder: Path) -> bool:
        """Publish an artefact from the folder of another store, with its manifest; False when it is here already."""
        manifest = read_manifest(folder, artefact)
        if self._touched(artefact):
            return False
        self._upload(folder, artefact, manifest, (folder / MANIFEST).read_bytes())
        return True

    def _upload(self, folder: Path, artefact: str, manifest: Manifest, raw: bytes) -> None:
        upload = secrets.token_hex(8)
        key = self._keyring.data_key()
        envelope = None if key is None else self._keyring.wrap(key, artefact)
        names = [_file(artefact, upload, i) for i in range(len(manifest.files))]
        settled = False
        try:
            for number, entry in enumerate(manifest.files):
                self._objects.put(names[number], sealed(key, str(number), _unchanged(folder / entry.path, entry)))
            head = Head(upload=upload, touched_us=0, manifest=b"".join(sealed(key, MANIFEST, [raw])), envelope=envelope)
            settled = self._settled(artefact, head)
        finally:
            if not settled:
                _quietly(lambda: self._hasty.delete(names))

    def _settled(self, artefact: str, ours: Head) -> bool:
        """Make an upload the artefact; False when another one is by now."""
        for _ in range(_ATTEMPTS):
            fresh = msgspec.json.encode(msgspec.structs.replace(ours, touched_us=self._now_us()))
            if self._objects.create(_head(artefact), fresh):
                return True
            head, tag = self._read_head(artefact)
            if head is not None:  # our own, where the answer to a repeated request was lost
                return head.upload == ours.upload or not self._touched(artefact)
            if tag is not None and self._objects.replace(_head(artefact), fresh, tag):
                return True
        raise Unavailable("the artefact changes too often to be published", where=self._objects.where, found=artefact)

    def _touched(self, artefact: str) -> bool:
        """Count a present artefact as new; False when there is none."""
        return self._changed(artefact, lambda head: head)

    def _changed(self, artefact: str, change: Callable[[Head], Head | None]) -> bool:
        """Change the head of a present artefact; False when there is none, or nothing to change."""
        for _ in range(_ATTEMPTS):
            head, tag = self._read_head(artefact)
            changed = None if head is None else change(head)
            if head is None or tag is None or changed is None:
                return False
            newer = msgspec.structs.replace(changed, touched_us=max(self._now_us(), head.touched_us + 1))
            if self._objects.replace(_head(artefact), msgspec.json.encode(newer), tag):
                return True
        raise Unavailable("the artefact changes too often to be changed", where=self._objects.where, found=artefact)

    def hold(self, artefact: str) -> Held:
        """See `Artefacts.hold`; answered from the node cache when it is there, whatever the store does."""
        return self._cache.hold(check_id(artefact))

    def contents(self, artefact: str) -> Contents:
        """The artefact as it lies in the store."""
        head, _ = self._read_head(artefact)
        if head is None:
            raise NotFound("no such artefact", where=self._objects.where, found=artefact)
        key = None if head.envelope is None else self._keyring.unwrap(head.envelope, artefact)
        raw = b"".join(opened(key, MANIFEST, [head.manifest]))
        manifest = parse_manifest(raw, artefact, f"{self._objects.where}/{_head(artefact)}")
        numbers = {entry.path: number for number, entry in enumerate(manifest.files)}

        def read(entry: FileEntry) -> Iterator[bytes]:
            number = numbers[entry.path]
            stored = self._objects.stream(_file(artefact, head.upload, number), sealed_size(key, entry.size))
            return opened(key, str(number), stored)

        return Contents(raw, manifest, read)

    def artefacts(self, before_ns: int | None = None) -> list[str]:
        """See `Artefacts.artefacts`."""
        found = self._hasty.below(HEADS)
        old = (stored for stored in found if before_ns is None or stored.changed_ns < before_ns)
        return sorted(_id(stored) for stored in old if stored.size)

    def delete(self, artefact: str, before_ns: int | None = None) -> bool:
        """See `Artefacts.delete`."""
        head, tag = self._read_head(artefact)
        if head is None or tag is None:
            return True
        if before_ns is not None and head.touched_us * 1000 >= before_ns:
            return False
        if not self._objects.replace(_head(artefact), _GONE, tag):
            return before_ns is None and self.delete(artefact)
        self._objects.delete([stored.name for stored in self._objects.below(f"{FILES}/{artefact}/{head.upload}")])
        return True

    def touch(self, artefact: str) -> None:
        """See `Artefacts.touch`."""
        self._touched(check_id(artefact))

    def close(self) -> None:
        """See `Artefacts.close`."""
        self._cache.close()

    def envelopes(self) -> Iterator[tuple[str, Envelope | None]]:
        """See `sealing.rotation.Enveloped`."""
        for artefact in self.artefacts():
            head, _ = self._read_head(artefact)
            if head is not None:
                yield artefact, head.envelope

    def rewrap(self, place: str, keyring: Keyring) -> bool:
        """See `sealing.rotation.Enveloped`."""

        def change(head: Head) -> Head | None:
            envelope = None if head.envelope is None else keyring.rewrap(head.envelope, place)
            return None if envelope is None else msgspec.structs.replace(head, envelope=envelope)

        return self._changed(place, change)

    def clean(self, before_ns: int) -> None:
        """See `Artefacts.clean`; asks for the head of an artefact only where it may not be the only upload."""
        heads = {_id(stored) for stored in self._hasty.below(HEADS) if stored.size}
        uploads: dict[str, dict[str, list[Stored]]] = defaultdict(lambda: defaultdict(list))
        for stored in self._hasty.below(FILES):
            _, artefact, upload, _ = stored.name.split("/")
            uploads[artefact][upload].append(stored)
        for artefact, found in uploads.items():
            if artefact not in heads or len(found) > 1:
                self._drop_left(artefact, found, before_ns)

    def _drop_left(self, artefact: str, uploads: dict[str, list[Stored]], before_ns: int) -> None:
        head, _ = self._read_head(artefact)
        for upload, files in uploads.items():
            if (head is None or head.upload != upload) and all(file.changed_ns < before_ns for file in files):
                self._hasty.delete([file.name for file in files])

    def _read_head(self, artefact: str) -> tuple[Head | None, str | None]:
        """The head and its tag; no head where it was deleted, nothing at all where it never was."""
        try:
            raw, tag = self._objects.read(_head(check_id(artefact)))
            return (msgspec.json.decode(raw, type=Head) if raw else None), tag
        except NotFound:
            return None, None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            where = f"{self._objects.where}/{_head(artefact)}"
            raise CorruptData(f"the artefact's head cannot be read: {error}", where=where) from error

    def _now_us(self) -> int:
        return self._clock.time_ns() // 1000


def _head(artefact: str) -> str:
    return f"{HEADS}/{artefact}"


def _file(artefact: str, upload: str, number: int) -> str:
    return f"{FILES}/{artefact}/{upload}/{number}"


def _id(stored: Stored) -> str:
    return stored.name.rpartition("/")[2]


def _unchanged(path: Path, entry: FileEntry) -> Iterator[bytes]:
    """The file's bytes; raises InvalidInput at the end when they are not those that were hashed before."""
    try:
        yield from checked(pieces(path), entry, str(path))
    except CorruptData as error:
        raise InvalidInput("the file changed while it was published", where=str(path)) from error


def _quietly(work: Callable[[], None]) -> None:
    """Do what is only tidying while something worse is reported."""
    with suppress(Unavailable):
        work()
