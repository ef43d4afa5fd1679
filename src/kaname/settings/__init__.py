"""Every setting of a project in one Struct: `kaname.yaml` and `KANAME_…` fill it, `kaname settings` prints it.

Durations and sizes carry their unit in the name. The room `project` reads the file and the environment. A password, a
key, or a URL that may hold one is a `kaname.secret.Secret`, with a `…_file` setting below it: neither logs, errors nor
`kaname settings` show its value.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kaname.settings.access import (
    SCOPE,
    AccessSettings,
    Algorithm,
    ClientCertificate,
    OAuthSettings,
    Scope,
    TenantName,
    TenantSettings,
    TokenIssuer,
)
from kaname.settings.cells import CellsName, CellsSettings
from kaname.settings.features import FeatureSettings
from kaname.settings.models import Caching, Limits, ModelConfig, OverloadAnswer, Recording, RecordPolicy
from kaname.settings.remotes import RemoteName, RemoteSettings
from kaname.settings.server import ServerSettings, TlsSettings
from kaname.settings.stores import (
    ArtefactSettings,
    DatabaseSettings,
    EncryptionSettings,
    RecordSettings,
    RepositorySettings,
    SharedSettings,
    SqlRecordSettings,
)
from kaname.settings.telemetry import OtlpSettings, TelemetrySettings
from kaname.settings.units import Bytes, Count, Millis, Rate, Share

__all__ = [
    "SCOPE",
    "AccessSettings",
    "Algorithm",
    "ArtefactSettings",
    "BatchSettings",
    "Bytes",
    "Caching",
    "CellsName",
    "CellsSettings",
    "ClientCertificate",
    "Count",
    "DatabaseSettings",
    "DeferredSettings",
    "Device",
    "EncryptionSettings",
    "FeatureSettings",
    "InferenceSettings",
    "Limits",
    "Millis",
    "ModelConfig",
    "OAuthSettings",
    "OtlpSettings",
    "OverloadAnswer",
    "Rate",
    "RecordPolicy",
    "RecordSettings",
    "Recording",
    "RemoteName",
    "RemoteSettings",
    "RepositorySettings",
    "Scope",
    "ServerSettings",
    "Settings",
    "Share",
    "SharedSettings",
    "SqlRecordSettings",
    "TelemetrySettings",
    "TenantName",
    "TenantSettings",
    "TlsSettings",
    "TokenIssuer",
]

Device = Literal["auto", "cpu", "cuda", "tensorrt"]


class InferenceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models run."""

    memory_bytes: Bytes = 0
    """Memory that models may take on this node, in equal shares for its workers; 0: half of what the machine has."""
    device: Device = "auto"
    """Where models of ONNX, PyTorch and TensorFlow run: `auto` (CUDA where there is one, else `cpu`), `cpu`, `cuda`,
    `tensorrt`."""
    device_bytes: Bytes = 0
    """Most of a device's memory that one session takes; 0: what there is."""
    device_memory_bytes: Bytes = 0
    """Memory of the device that models may take on this node, in equal shares for its workers; 0: four fifths of it."""
    preload: Annotated[int, Meta(ge=0)] = 100
    """Most versions that a change loads before it is in force (at the start: before the server is ready), beside pinned
    ones and those whose predecessor is in memory; the others load when they are first asked."""
    threads: Count = 1
    """Intra-op threads of a session."""
    inline_us: float = 1_000.0
    """A version whose best batch takes at most this long runs on the event loop, others on worker threads."""
    worker_threads: Count = 2
    """Runs in progress at once on threads, over all models of a worker."""
    max_rows: Count = 100_000
    """Most rows in one request."""
    streams: Count = 8
    """Answers that a worker gives piece by piece at once, each on a thread of its own."""


class BatchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Batch jobs: files of rows that a server predicts."""

    jobs: Count = 1
    """Jobs in progress at once, each in a process of its own beside the workers."""
    threads: Count = 1
    """Threads of a job that predict."""
    jobs_per_min: Count = 100
    """Jobs that a key may make per minute."""
    keep_days: Annotated[float, Meta(gt=0)] = 7.0
    """Files of a job that ended before are deleted."""


class DeferredSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests that are answered later (`overload: queue`), and webhooks that carry their answers."""

    keep_hours: Annotated[float, Meta(gt=0)] = 24.0
    """Answers are kept for this long."""
    max_bytes: Bytes = 1024 * 1024 * 1024
    """Requests and answers on disk, per worker; beyond it requests are refused instead."""
    webhooks: tuple[str, ...] = ()
    """Beginnings of the URLs that answers may be sent to: `https://hooks.example.com/kaname/`. None: no webhooks."""
    webhook_private: bool = False
    """Permit targets whose name leads to an address that is not public; one that the list names as an address is."""
    webhook_timeout_ms: Count = 10_000
    """Longest wait for a webhook's answer."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a project."""

    name: str = "kaname"
    """Name of the project, for people."""
    profile: Literal["local", "cluster"] = "local"
    """Which defaults hold."""
    server: ServerSettings = ServerSettings()
    access: AccessSettings = AccessSettings()
    inference: InferenceSettings = InferenceSettings()
    repository: RepositorySettings = RepositorySettings()
    record: RecordSettings = RecordSettings()
    batch: BatchSettings = BatchSettings()
    shared: SharedSettings = SharedSettings()
    deferred: DeferredSettings = DeferredSettings()
    tenants: dict[TenantName, TenantSettings] = {}
    """Tenants by name, each with `rate_rows_per_s`, `burst_rows`, `rows_per_day`."""
    remotes: dict[RemoteName, RemoteSettings] = {}
    """Servers that remote models ask, by any name, each with `url`, `header`, `value` or `value_file`, `ca_file`."""
    cells: dict[CellsName, CellsSettings] = {}
    """Stores of cells by the names that schemas say, each with `kind`, `addresses`, …; others are embedded."""
    features: FeatureSettings = FeatureSettings()
    artefacts: ArtefactSettings = ArtefactSettings()
    database: DatabaseSettings = DatabaseSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    models: ModelConfig = ModelConfig()
    """Defaults of every model; a model's own configuration overrides them field by field."""
