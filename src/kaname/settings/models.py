"""What an owner sets per model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kaname.settings.units import Bytes, Count, Millis, Rate, Share

OverloadAnswer = Literal["shed", "value", "queue"]
RecordPolicy = Literal["sample", "drop", "block"]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one model, over all its versions. None: no limit."""

    rate_rows_per_s: Rate | None = None
    """Rows accepted per second by all workers, and nodes that share a Redis (token bucket, a burst of one second)."""
    concurrency: Count | None = None
    """Requests in progress at once per worker, queued ones included in `queue`."""
    queue: Annotated[int, Meta(ge=0)] = 10_000
    """Requests that may wait for the runtime of a worker; one more is refused at once with 503."""
    adaptive: Literal["auto", "on", "off"] = "auto"
    """Refuse what could not be answered in time while more is asked than can be answered. `auto`: for versions that run
    on worker threads and for remotes."""
    patience_ms: Millis | None = None
    """Wait for the runtime beyond which adaptive admission takes the model for overloaded; None: 250 ms, or 100 runs
    if they take longer."""


class Recording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How predictions of one model are recorded."""

    enabled: bool = True
    """Whether predictions are recorded at all."""
    policy: RecordPolicy = "drop"
    """When the disk is slower than traffic: keep a sample, drop, or block (the answer waits for the commit)."""
    sample: Share = 0.1
    """Share of events kept while the buffer is over half full under `sample`."""
    max_bytes: Bytes = 16_384
    """A tensor above this many bytes is recorded as its hash and shape."""
    redact: tuple[str, ...] = ()
    """Feature, input or output names whose values are not recorded."""


class Caching(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answers of one model kept for requests that bring the same input again."""

    enabled: bool = False
    """Whether answers are kept; a request then also waits for an equal one in progress instead of running beside it."""
    ttl_ms: Millis = 60_000.0
    """How long a worker keeps an answer."""
    max_bytes: Bytes = 64 * 1024 * 1024
    """Most that a worker keeps; what is asked rarely goes first."""
    shared_ttl_ms: Millis = 300_000.0
    """How long an answer is kept for all nodes, where they share a Redis (`shared.redis_url`); 0: not at all."""


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an owner sets per model; everything has a default."""

    description: str = ""
    """What the model is for, for people."""
    limits: Limits = Limits()
    record: Recording = Recording()
    cache: Caching = Caching()
    max_delay_ms: Millis = 0.0
    """Longest time a request waits for others to share its batch; 0: batches form only while the runtime is busy."""
    max_batch_rows: Count | None = None
    """Upper bound of a batch; None: the size that the profile found best."""
    batch_tolerance: Annotated[float, Meta(ge=0)] | None = None
    """Largest absolute difference accepted between batched and single results when they are not bit-equal."""
    timeout_ms: Count = 30_000
    """Deadline of a request that names none."""
    pinned: bool = False
    """The version that answers is loaded before the server is ready and never makes room for others."""
    view: str = ""
    """Name of the view (`features/*.view.yaml`) by which requests may name an entity instead of its features."""
    overload: OverloadAnswer = "shed"
    """What is said when more is asked than can be answered: `shed` refuses with 503, `value` answers `overload_value`,
    `queue` answers 202 with an id under which the answer is found later (over HTTP; elsewhere it refuses)."""
    overload_value: tuple[Any, ...] | None = None
    """The answer of one row under `overload: value`: a value per output, in the order of the signature."""
