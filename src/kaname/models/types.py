"""Models and versions as facts: what the registry stores and every other part reads."""

from __future__ import annotations

from typing import Literal

import msgspec

from kaname.runtimes.types import Profile
from kaname.signature import Signature

VersionStatus = Literal["training", "deployed", "archived"]
RecordPolicy = Literal["sample", "drop", "block"]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one model, over all its versions, per worker. None: no limit."""

    rate_rows_per_s: float | None = None
    """Rows accepted per second (token bucket with a burst of one second)."""
    concurrency: int | None = None
    """Requests in progress at once, queued ones included in `queue`."""
    queue: int = 10_000
    """Requests that may wait for the runtime; one more is refused at once with 503."""


class Recording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How predictions of one model are recorded."""

    enabled: bool = True
    policy: RecordPolicy = "drop"
    """When the disk is slower than traffic: keep a sample, drop, or block (the answer waits for the commit)."""
    sample: float = 0.1
    """Share of events kept while the buffer is over half full under `sample`."""
    max_bytes: int = 16_384
    """A tensor above this many bytes is recorded as its hash and shape."""
    redact: tuple[str, ...] = ()
    """Feature, input or output names whose values are not recorded."""


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an owner sets per model; everything has a default."""

    description: str = ""
    limits: Limits = Limits()
    record: Recording = Recording()
    max_delay_ms: float = 0.0
    """Longest time a request waits for others to share its batch; 0: batches form only while the runtime is busy."""
    max_batch_rows: int | None = None
    """Upper bound of a batch; None: the size that the profile found best."""
    batch_tolerance: float | None = None
    """Largest absolute difference accepted between batched and single results when they are not bit-equal."""
    timeout_ms: int = 30_000
    """Deadline of a request that names none."""


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
    """What was imported: `onnx`, `sklearn`, `lightgbm`, `xgboost`, `python`."""
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
