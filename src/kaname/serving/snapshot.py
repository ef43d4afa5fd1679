"""What a worker answers from: models, versions and keys as pure data, read in one go and kept on disk."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from kaname.access.types import KeyInfo
from kaname.models.types import ModelInfo, VersionInfo


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One model with its versions that are not archived."""

    info: ModelInfo
    versions: tuple[VersionInfo, ...]

    def version(self, name: str) -> VersionInfo | None:
        """The version called `name`."""
        return next((version for version in self.versions if version.version == name), None)

    @property
    def promoted(self) -> VersionInfo | None:
        """The version that answers when a request names none."""
        return None if self.info.promoted is None else self.version(self.info.promoted)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The control plane as of change `number`."""

    number: int
    models: tuple[ModelEntry, ...]
    keys: tuple[KeyInfo, ...]

    def save(self, path: Path) -> None:
        """Keep it, so that a worker can start while the control plane is down. Atomic; the last one wins."""
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        with fresh.open("wb") as file:
            file.write(msgspec.msgpack.encode(self))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    @classmethod
    def load(cls, path: Path) -> Snapshot:
        """The snapshot that `save` kept. Raises OSError when there is none."""
        return msgspec.msgpack.decode(path.read_bytes(), type=cls)
