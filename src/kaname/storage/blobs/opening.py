"""The store of artefacts that the settings name."""

from __future__ import annotations

from pathlib import Path

from kaname.clock import Clock
from kaname.settings import ArtefactSettings
from kaname.storage.blobs.bucket import BucketArtefacts
from kaname.storage.blobs.cache import NodeCache
from kaname.storage.blobs.file import ArtefactStore
from kaname.storage.blobs.types import Artefacts, Source


def open_artefacts(settings: ArtefactSettings, data: Path, clock: Clock) -> Artefacts:
    """The artefacts of the project whose data lie in `data`. Asks no server anything.

    Raises MissingDependency or InvalidInput for a URL that cannot be used.
    """
    if not settings.url:
        return ArtefactStore(Path(settings.folder) if settings.folder else data / "artefacts")
    from kaname.storage.blobs.remote import open_remote

    def cache(source: Source) -> NodeCache:
        folder = Path(settings.cache_folder) if settings.cache_folder else data / "cache"
        return NodeCache(folder, settings.cache_bytes, source, patience_s=settings.retry_ms / 1000)

    return BucketArtefacts(open_remote(settings), open_remote(settings, patient=False), clock, cache)
