"""Where a watched repository is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from kaname.clock import Clock
from kaname.repositories.detect import existing
from kaname.repositories.finished import Finished
from kaname.repositories.versions import is_staged

Stamps = Mapping[str, str]
"""For each entry at the top of a repository a value that differs whenever anything in it changed."""


class Source(Protocol):
    """A repository that others write to: a folder, or a bucket of which a folder here is kept alike."""

    def look(self) -> Stamps:
        """What there is now. Raises KanameError or OSError when it cannot be reached: then nothing is known, which is
        not the same as nothing being there."""

    def folder(self) -> Path:
        """Where it can be read as of the last look."""

    def unpublished(self, version: Path) -> str | None:
        """Why the folder of a version is not to be read yet, or None: it is finished."""


class FolderSource:
    """A folder of this machine, or one that is mounted."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._finished = Finished(clock)

    def look(self) -> Stamps:
        """See `Source.look`."""
        existing(self._root)
        with os.scandir(self._root) as entries:
            return {entry.name: _stamp(entry) for entry in entries if not is_staged(entry.name)}

    def folder(self) -> Path:
        """See `Source.folder`."""
        return self._root

    def unpublished(self, version: Path) -> str | None:
        """See `Source.unpublished`."""
        return self._finished(version)


def _stamp(top: os.DirEntry[str]) -> str:
    found: list[tuple[str, int, int, int, int]] = []
    _collect(top, found)
    return blake3(repr(sorted(found)).encode()).hexdigest()


def _collect(entry: os.DirEntry[str], found: list[tuple[str, int, int, int, int]]) -> None:
    """Everything at and below an entry that is meant to be seen; what goes away meanwhile is not there."""
    try:
        stat = entry.stat()
        found.append((entry.path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
        if entry.is_dir():
            with os.scandir(entry.path) as inner:
                for each in inner:
                    if not is_staged(each.name):
                        _collect(each, found)
    except FileNotFoundError:
        return
