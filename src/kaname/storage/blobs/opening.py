"""The store of artefacts that the settings name."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from blake3 import blake3

from kaname.clock import Clock
from kaname.settings import ArtefactSettings
from kaname.storage.blobs.bucket import BucketArtefacts
from kaname.storage.blobs.cache import NodeCache
from kaname.storage.blobs.file import ArtefactStore
from kaname.storage.blobs.types import Artefacts, Source
from kaname.storage.sealing.keys import Keyring

MEMORY = Path("/dev/shm")  # noqa: S108  (a folder of our own in it, for our user only)
"""A file system in memory, where decrypted copies reach no disk."""


def open_artefacts(settings: ArtefactSettings, data: Path, clock: Clock, keyring: Keyring) -> Artefacts:
    """The artefacts of the project whose data lie in `data`. Asks no server anything.

    Raises MissingDependency or InvalidInput for a URL that cannot be used.
    """
    if not settings.url:
        return folder_artefacts(settings, data, keyring)
    from kaname.storage.blobs.remote import open_remote

    cache = partial(_cache, settings, data, keyring)
    return BucketArtefacts(open_remote(settings), open_remote(settings, patient=False), clock, cache, keyring)


def folder_artefacts(settings: ArtefactSettings, data: Path, keyring: Keyring) -> ArtefactStore:
    """The artefacts in a folder, of the project or one that nodes share."""
    folder = Path(settings.folder) if settings.folder else data / "artefacts"
    return ArtefactStore(folder, keyring, partial(_cache, settings, data, keyring))


def _cache(settings: ArtefactSettings, data: Path, keyring: Keyring, source: Source) -> NodeCache:
    in_memory = keyring.active is not None and not settings.cache_folder
    folder = _memory_folder(data) if in_memory else Path(settings.cache_folder or data / "cache")
    patience_s = settings.retry_ms / 1000
    return NodeCache(folder, settings.cache_bytes, source, patience_s=patience_s, fleeting=in_memory)


def _memory_folder(data: Path) -> Path:
    """One for each project and user."""
    return MEMORY / f"kaname-{os.getuid()}-{blake3(os.fsencode(data.resolve())).hexdigest()[:16]}"
