"""What a version consists of, as one hash: whether a repository still holds what was taken from it."""

from __future__ import annotations

import os
from pathlib import Path

from blake3 import blake3

from kaname.repositories.finished import SUMS


def digest_of(*places: Path) -> str:
    """One hash over these files, and all files in these folders with their names. Raises OSError."""
    digest = blake3()
    for place in places:
        for file in _files(place):
            name = b"" if file == place else file.relative_to(place).as_posix().encode(errors="surrogateescape")
            digest.update(len(name).to_bytes(4, "big") + name + blake3().update_mmap(file).digest())
    return digest.hexdigest()


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    found = []
    for base, folders, files in os.walk(place):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [Path(base) / name for name in files if name != SUMS]
    return sorted(found)
