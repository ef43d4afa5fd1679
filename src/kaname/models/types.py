"""Models and versions as facts: what the registry stores and every other part reads."""

from __future__ import annotations

from typing import Literal

import msgspec

from kaname.runtimes.types import Profile
from kaname.settings import ModelConfig
from kaname.signature import Signature

VersionStatus = Literal["training", "deployed", "archived"]


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """Conversion against the original on the same rows."""

    rows: int
    max_difference: float
    share_beyond: float
    """Share of rows whose difference exceeds `tolerance`."""
    tolerance: float


class RuntimeChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One runtime that could execute the version, and what was measured of it."""

    runtime: str
    file: str
    """Name of the file in the artefact that it reads."""
    profile: Profile | None = None
    parity: Parity | None = None
    chosen: bool = False
    reason: str = ""
    """Why it was chosen or not, for people."""


class VersionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable version with its mutable status and tags."""

    id: int
    model: str
    model_id: int
    version: str
    """Its name; a string so that `3` and `2026-11-22` are both fine."""
    status: VersionStatus
    artefact: str
    """BLAKE3 of the manifest, hexadecimal; the name of the artefact's folder."""
    source: str
    """What was imported: `onnx`, `sklearn`, `lightgbm`, …"""
    runtime: str
    signature: Signature
    profile: Profile
    choices: tuple[RuntimeChoice, ...] = ()
    sample: dict[str, object] | None = None
    """A request body for `POST …/predict` that works."""
    metrics: dict[str, float] = {}
    tags: tuple[str, ...] = ()
    created_us: int
    """Microseconds since the Unix epoch, UTC."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One model: its name and number, what answers now, and its settings."""

    id: int
    name: str
    promoted: str | None
    """The version that answers when a request names none."""
    previous: str | None
    """The version that `rollback` returns to."""
    loaded: bool
    """False after an explicit unload: requests are refused until it is loaded again."""
    config: ModelConfig
    created_us: int
    etag: str
    """Changes with every change of the model; for `If-Match`."""
