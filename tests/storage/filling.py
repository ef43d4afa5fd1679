"""A node cache over a local store that notes each fetch; run as a program it is another process of the node."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from kaname.storage.blobs.cache import NodeCache
from kaname.storage.blobs.file import ArtefactStore
from kaname.storage.blobs.manifest import CHUNK, MANIFEST, FileEntry, pieces, read_manifest
from kaname.storage.blobs.types import Contents, Source

SLOW_S = 0.005


def counted(store: ArtefactStore, log: Path, *, slow: bool = False) -> Source:
    """Reads from `store`; each artefact asked for is a line of `log`. `slow`: with a pause before each piece."""

    def contents(artefact: str) -> Contents:
        place = store.path(artefact)
        with log.open("a") as file:
            file.write(f"{os.getpid()} {artefact}\n")

        def read(entry: FileEntry) -> Iterator[bytes]:
            for piece in pieces(place / entry.path):
                for start in range(0, CHUNK, CHUNK // 16):
                    time.sleep(SLOW_S if slow else 0)
                    yield piece[start : start + CHUNK // 16]

        return Contents((place / MANIFEST).read_bytes(), read_manifest(place, artefact), read)

    return contents


def node(folder: Path, budget: int = 1 << 30, *, slow: bool = False, patience_s: float = 30.0) -> NodeCache:
    """The cache of the node whose files are in `folder`, over the store beside it."""
    source = counted(ArtefactStore(folder / "store"), folder / "fetches", slow=slow)
    return NodeCache(folder / "cache", budget, source, patience_s=patience_s)


if __name__ == "__main__":
    held = node(Path(sys.argv[1]), slow=sys.argv[3] == "slow").hold(sys.argv[2])
    print(held.folder, flush=True)
    sys.stdin.read()
