"""Where artefacts are kept, and the bytes below: folders of files under their hash, objects under names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

import msgspec

from kaname.storage.blobs.manifest import FileEntry, Manifest
from kaname.storage.sealing.rotation import Enveloped


class Held:
    """An artefact's folder, verified, that stays where it is until it is released: read it, never write.

    As a context manager it gives the folder and releases at the end.
    """

    def __init__(self, folder: Path, release: Callable[[], None] | None = None) -> None:
        self.folder = folder
        self._release = release

    @property
    def counts(self) -> bool:
        """Whether anybody waits for the release."""
        return self._release is not None

    def release(self) -> None:
        """The files may go now. Calling it again does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


class Artefacts(Enveloped, Protocol):
    """Artefacts under their ids, each complete or absent and never changed; several processes may use it at once.

    What cannot be reached now raises Unavailable, as does what is encrypted with a key that is not listed; CorruptData
    where the key is another one. Ids that are none raise InvalidInput.
    """

    def publish(self, folder: Path) -> str:
        """Store a copy of the files in `folder` and return the artefact's id; durable on return.

        The same content again gives the same id and changes nothing, except that it counts as new for `delete`.
        Python's `__pycache__` is left out. Raises InvalidInput for an empty folder, a link, or anything not a file.
        """

    def hold(self, artefact: str) -> Held:
        """The artefact's files in a folder of this machine, every byte compared with its hash.

        Raises NotFound, or CorruptData naming the file that differs.
        """

    def artefacts(self, before_ns: int | None = None) -> list[str]:
        """The ids of all artefacts, sorted; with a time, of those last published or touched before it."""

    def delete(self, artefact: str, before_ns: int | None = None) -> bool:
        """Remove an artefact, unless it was published or touched at `before_ns` or later; whether it is gone now."""

    def touch(self, artefact: str) -> None:
        """Count an artefact as just published: a reader may still be at it, so let `delete` with a time wait."""

    def clean(self, before_ns: int) -> None:
        """Remove what was left before that time by processes that died while publishing or deleting."""

    def close(self) -> None:
        """Hold nothing any more; used after the last call only."""


class Contents(NamedTuple):
    """An artefact as it lies in a store: its manifest, checked, and how the bytes of a file are read, unchecked."""

    raw: bytes
    """The manifest as it was published; the artefact's id is its hash."""
    manifest: Manifest
    read: Callable[[FileEntry], Iterator[bytes]]


Source = Callable[[str], Contents]
"""What a node cache is filled from. Raises NotFound, CorruptData, Unavailable."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An object as a listing shows it."""

    name: str
    size: int
    changed_ns: int


class Objects(Protocol):
    """Bytes under names, whole or not there. Raises Unavailable when the store cannot be reached or refuses."""

    where: str
    """The store as a person names it, for messages."""

    def put(self, name: str, chunks: Iterable[bytes]) -> None:
        """Store an object of any size; what was there is replaced. An exception of `chunks` leaves nothing."""

    def create(self, name: str, value: bytes) -> bool:
        """Store a small object unless there is one of that name: False."""

    def replace(self, name: str, value: bytes, tag: str) -> bool:
        """Store a small object in place of the one that `read` gave with `tag`; False when that is no longer there."""

    def read(self, name: str) -> tuple[bytes, str]:
        """A small object and its tag. Raises NotFound."""

    def stream(self, name: str, size: int) -> Iterator[bytes]:
        """An object of `size` bytes, piece by piece. Raises NotFound."""

    def below(self, folder: str) -> Iterator[Stored]:
        """All objects whose names begin with `folder/`."""

    def delete(self, names: list[str]) -> None:
        """Remove objects; those that are not there do not matter."""
