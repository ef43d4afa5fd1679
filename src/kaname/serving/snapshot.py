"""What a worker answers from: models, versions and keys as pure data, read in one go and kept on disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from kaname.access.types import KeyInfo, TenantInfo
from kaname.errors import CorruptData
from kaname.models.types import ModelInfo, VersionInfo
from kaname.settings import ModelConfig


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
    tenants: tuple[TenantInfo, ...] = ()

    def save(self, path: Path, *, anew: bool = False) -> None:
        """Keep it, so that a worker can start while the control plane is down. Atomic; of several the newest stays.

        `anew`: also in place of a newer one, which a database that was put back from a copy does not know.
        """
        with _alone(path):
            if anew or _number_of(path) <= self.number:
                self._write(path)

    def _write(self, path: Path) -> None:
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        with fresh.open("wb") as file:
            file.write(msgspec.msgpack.encode(self))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    @classmethod
    def load(cls, path: Path) -> Snapshot:
        """The snapshot that `save` kept, by this release or the next one, whose new settings of models are left out.

        Raises OSError when there is none, CorruptData when it cannot be read.
        """
        raw = path.read_bytes()
        try:
            return _decode(raw, cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, KeyError) as error:
            raise CorruptData(f"the kept snapshot cannot be read: {error}", where=str(path)) from error


def _decode(raw: bytes, of: type[Snapshot]) -> Snapshot:
    try:
        return msgspec.msgpack.decode(raw, type=of)
    except msgspec.ValidationError:
        found = msgspec.msgpack.decode(raw)
        for entry in found["models"]:
            entry["info"]["config"] = _known(entry["info"]["config"], ModelConfig)
        return msgspec.convert(found, of)


def _known(value: dict[str, Any], of: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields that this release knows, at every depth."""
    kinds = {field.encode_name: field.type for field in msgspec.structs.fields(of)}
    return {
        name: _known(inner, kinds[name]) if isinstance(inner, dict) and isinstance(kinds[name], type) else inner
        for name, inner in value.items()
        if name in kinds
    }


def without_promotions(newer: Snapshot, present: Snapshot) -> Snapshot:
    """The newer snapshot, but with each model answered by the version that answers now."""
    now = {entry.info.id: entry for entry in present.models}
    entries = []
    for entry in newer.models:
        old = now.get(entry.info.id)
        if old is not None and old is not entry and old.info.promoted not in (None, entry.info.promoted):
            entry = _answered_by(entry, old)
        entries.append(entry)
    return Snapshot(number=present.number, models=tuple(entries), keys=newer.keys, tenants=newer.tenants)


def _answered_by(entry: ModelEntry, old: ModelEntry) -> ModelEntry:
    promoted = old.promoted
    if promoted is None:
        return entry
    info = msgspec.structs.replace(entry.info, promoted=promoted.version)
    kept = () if entry.version(promoted.version) else (promoted,)
    return ModelEntry(info=info, versions=entry.versions + kept)


class _Numbered(msgspec.Struct):
    number: int


def _number_of(path: Path) -> int:
    """The number of the snapshot at `path`; -1 where there is none that can be read."""
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=_Numbered).number
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return -1


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One writer at a time, of all processes."""
    fd = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
