"""What an artefact consists of: its files with sizes and hashes, and how they are checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from blake3 import blake3

from kaname.errors import CorruptData, InvalidInput

MANIFEST = "manifest.json"
ENVELOPE = "envelope.kaname"
RESERVED = {MANIFEST: "the manifest", ENVELOPE: "the key of an encrypted artefact"}
"""Names that no file of an artefact can have."""
CHUNK = 1 << 20
"""Bytes read at a time."""
ID = re.compile(r"[0-9a-f]{64}")
"""An artefact's id."""


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of an artefact; `path` is relative, with `/` between folders."""

    path: str
    size: int
    blake3: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The files of an artefact, sorted by path."""

    format: int = 1
    files: tuple[FileEntry, ...]


def files_of(folder: Path) -> list[str]:
    """Relative paths of the regular files under `folder`, sorted; refuses what cannot be copied faithfully."""
    if not folder.is_dir():
        raise InvalidInput("an artefact is published from a folder", where=str(folder), expected="a folder")
    found = []
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for path in (Path(base) / name for name in files + folders):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise InvalidInput("an artefact holds plain files only", where=str(path), expected="a regular file")
            if any("\ud800" <= letter <= "\udfff" for letter in path.name):
                raise InvalidInput("a file's name is not valid UTF-8", where=ascii(str(path)))
        found += [(Path(base) / name).relative_to(folder).as_posix() for name in files]
    if not found:
        raise InvalidInput("an artefact needs at least one file", where=str(folder), found="an empty folder")
    return sorted(found)


def check_id(artefact: str) -> str:
    """`artefact`, which is a name without any path in it. Raises InvalidInput."""
    if not ID.fullmatch(artefact):
        raise InvalidInput("not an artefact id", found=artefact, expected="64 hexadecimal digits")
    return artefact


def manifest_of(folder: Path) -> Manifest:
    """The manifest of the files in `folder` as they are now. Raises InvalidInput like `publishable`."""
    entries = []
    for path in publishable(folder):
        tally = Tally(pieces(folder / path))
        for _ in tally:
            pass
        entries.append(tally.entry(path))
    return Manifest(files=tuple(entries))


def publishable(folder: Path) -> list[str]:
    """`files_of`, which raises InvalidInput also for a name that is reserved."""
    found = files_of(folder)
    for name in RESERVED.keys() & set(found):
        raise InvalidInput(f"the name is taken by {RESERVED[name]}", where=str(folder / name), expected="another name")
    return found


class Tally:
    """Hands bytes through; knows at the end how many there were, and their hash."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._digest = blake3()
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._digest.update(chunk)
            self._size += len(chunk)
            yield chunk

    def entry(self, path: str) -> FileEntry:
        """What went through, as the file at `path`."""
        return FileEntry(path=path, size=self._size, blake3=self._digest.hexdigest())


def pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file, `CHUNK` at a time."""
    with path.open("rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk


def present_pieces(path: Path) -> Iterator[bytes]:
    """`pieces` of a file of an artefact. Raises CorruptData when it is not there."""
    try:
        yield from pieces(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CorruptData("a file of the artefact is missing", where=str(path)) from error


def parse_manifest(raw: bytes, artefact: str, where: str) -> Manifest:
    """The manifest in `raw`. Raises CorruptData when it does not hash to the artefact's id."""
    if blake3(raw).hexdigest() != artefact:
        raise CorruptData("the manifest does not match the artefact's id", where=where)
    try:
        return msgspec.json.decode(raw, type=Manifest)
    except msgspec.MsgspecError as error:
        raise CorruptData(f"the manifest cannot be read: {error}", where=where) from error


def read_manifest(place: Path, artefact: str) -> Manifest:
    """The manifest of the artefact in `place`. Raises CorruptData when it is missing or does not hash to the id."""
    where = f"{place}/{MANIFEST}"
    try:
        return parse_manifest((place / MANIFEST).read_bytes(), artefact, where)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CorruptData("the manifest is missing", where=where) from error


def verify_folder(place: Path, artefact: str) -> None:
    """Read every byte of the artefact in `place` and compare. Raises CorruptData naming the file that differs."""
    try:
        present = set(files_of(place))
    except InvalidInput as error:
        raise CorruptData(f"not what was published: {error.message}", where=error.where) from error
    manifest = read_manifest(place, artefact)
    listed = {entry.path for entry in manifest.files}
    for extra in sorted(present - listed - {MANIFEST}):
        raise CorruptData("a file that the manifest does not list", where=f"{place}/{extra}")
    for entry in manifest.files:
        verify_file(place / entry.path, entry)


def verify_file(path: Path, entry: FileEntry) -> None:
    """Read the file and compare. Raises CorruptData naming what differs."""
    for _ in checked(present_pieces(path), entry, str(path)):
        pass


def checked(chunks: Iterable[bytes], entry: FileEntry, where: str) -> Iterator[bytes]:
    """`chunks` handed through; after the last one raises CorruptData unless they were the file of `entry`."""
    tally = Tally(chunks)
    yield from tally
    found = tally.entry(entry.path)
    if found != entry:
        raise CorruptData(
            "the file is not what was published",
            where=where,
            found=f"{found.size} bytes, {found.blake3[:16]}…",
            expected=f"{entry.size} bytes, {entry.blake3[:16]}…",
        )
