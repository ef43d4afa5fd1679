"""What an artefact consists of: its files with sizes and hashes, and how they are checked."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from blake3 import blake3

from kaname.errors import CorruptData, InvalidInput

MANIFEST = "manifest.json"
CHUNK = 1 << 20
"""Bytes read at a time."""


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


def read_manifest(place: Path, artefact: str) -> Manifest:
    """The manifest of the artefact in `place`. Raises CorruptData when it is missing or does not hash to the id."""
    where = f"{place}/{MANIFEST}"
    try:
        raw = (place / MANIFEST).read_bytes()
        if blake3(raw).hexdigest() != artefact:
            raise CorruptData("the manifest does not match the artefact's id", where=where)
        return msgspec.json.decode(raw, type=Manifest)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CorruptData("the manifest is missing", where=where) from error
    except msgspec.MsgspecError as error:
        raise CorruptData(f"the manifest cannot be read: {error}", where=where) from error


def verify_file(path: Path, entry: FileEntry) -> None:
    """Read the file and compare. Raises CorruptData naming what differs."""
    try:
        size = path.stat().st_size
        digest = blake3()
        with path.open("rb") as source:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CorruptData("a file of the artefact is missing", where=str(path)) from error
    if size != entry.size or digest.hexdigest() != entry.blake3:
        raise CorruptData(
            "the file is not what was published",
            where=str(path),
            found=f"{size} bytes, {digest.hexdigest()[:16]}…",
            expected=f"{entry.size} bytes, {entry.blake3[:16]}…",
        )
