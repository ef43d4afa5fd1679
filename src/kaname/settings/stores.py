"""Where things are kept: the record, artefacts, the database, values that nodes share."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kaname.secret import Secret
from kaname.settings.units import Bytes, Count, Millis


class SqlRecordSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The prediction log in SQL tables, beside the record."""

    urls: tuple[str, ...] = ()
    """Eight databases (or schemas, `?schema=NAME`) by `model_id % 8`, or one URL with `{shard}`; empty: none."""
    password: Secret | None = None
    """Password of the users in the URLs."""
    password_file: str | None = None
    """File that holds it."""
    retain_days: Annotated[float, Meta(gt=0)] = 90.0
    """Rows of requests that arrived earlier are deleted."""


class RepositorySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model repository that the server follows: what is published is taken over, what is removed put away."""

    path: str | None = None
    """Its folder, relative to the project; none when not set."""
    kind: Literal["auto", "triton", "mlserver", "tensorflow", "mlflow", "folders"] = "auto"
    """What it is; `auto`: what it looks like."""
    poll_ms: Annotated[float, Meta(ge=50)] = 1_000
    """Pause between two looks; longer where a look takes more than a twentieth of it."""
    trust_pickle: bool = False
    """Read pickles that are published there: they run the code in them."""


class RecordSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The prediction record."""

    commit_ms: Annotated[float, Meta(ge=1, le=50)] = 40.0
    """Group-commit window: an acknowledged prediction is on disk at most this long after its answer."""
    buffer_bytes: Bytes = 64 * 1024 * 1024
    """Events waiting for the disk; beyond it a model's `record.policy` decides."""
    retain_bytes: Bytes = 1024 * 1024 * 1024
    """Oldest blocks are deleted beyond this size, per writer."""
    retain_days: float = 30.0
    """Blocks older than this are deleted."""
    sql: SqlRecordSettings = SqlRecordSettings()


class ArtefactSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the files of versions are kept."""

    url: Annotated[str, Meta(pattern=r"^$|^(s3|gs)://[^/]+(/.*)?$")] = ""
    """`s3://bucket/prefix` or `gs://bucket/prefix`; empty: a folder. Needs the extra `s3`."""
    folder: str = ""
    """Without a URL: the folder, which nodes of one database share, as an absolute path; empty: `.kaname/artefacts`."""
    endpoint: str = ""
    """Address of an S3-compatible server, `https://host:port`; empty: `AWS_ENDPOINT_URL`, or Amazon's own."""
    region: str = ""
    """Region of the bucket; empty: `AWS_REGION`, or the profile's."""
    timeout_ms: Millis = 30_000
    """Longest time of one request to the store, 8 MiB at most."""
    retry_ms: Millis = 60_000
    """How long a request that fails is repeated, and how long a worker waits for another that fetches the same."""
    cache_folder: str = ""
    """Where a node keeps its copies of what lies in the store; empty: `.kaname/cache`."""
    cache_bytes: Bytes = 10 * 1024 * 1024 * 1024
    """Most bytes of those copies; the least recently used of those that no worker has loaded go first."""


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the control plane is kept: models, keys, jobs, the journal of changes."""

    url: str = ""
    """`postgresql://USER@HOST/NAME` (extra `postgres`), `mysql://…` or `mariadb://…` (extra `mysql`); empty: a SQLite
    file of the project. Nodes with the same one are one cluster."""
    password: Secret | None = None
    """Password of the user in the URL."""
    password_file: str | None = None
    """File that holds it."""
    replica_urls: tuple[str, ...] = ()
    """Servers that follow the database, with the same user and password: large reads go to one that is far enough."""
    timeout_ms: Annotated[float, Meta(ge=1000)] = 10_000
    """Longest wait for one answer of a database server; one that does not answer stops changes, never predictions."""


class EncryptionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Encryption at rest of artefacts, the prediction record and deferred requests. Needs the extra `security`."""

    keys: Secret | None = None
    """Lines `name: key`, as `kaname encryption new-key` prints them; what is new is encrypted with the first."""
    keys_file: str | None = None
    """File that holds them."""
    active_key: str = ""
    """Name of the key for what is new, in place of the first."""


class SharedSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the nodes of a fleet share through Redis: kept answers, limits and quotas."""

    redis_url: Secret | None = None
    """`redis://host:6379/0`, `redis+sentinel://a,b/NAME`, `redis+cluster://a,b`; TLS: `rediss…`. Extra `redis`."""
    redis_url_file: str | None = None
    """A file that holds the URL."""
    username: str | None = None
    """Who connects, where the URL does not say."""
    password: Secret | None = None
    """Its password, likewise."""
    password_file: str | None = None
    """A file that holds the password."""
    ca_file: str | None = None
    """PEM file of the authorities that TLS trusts; None: the system's."""
    prefix: str = "kaname:"
    """Begins every key: projects that share a Redis have different ones."""
    timeout_ms: Annotated[float, Meta(gt=0)] = 50.0
    """Longest wait of a worker's thread for the network."""
    lookup_ms: Annotated[float, Meta(gt=0)] = 10.0
    """Longest time that a request waits for what other nodes know."""
    nodes: Count = 1
    """By how much limits are divided while Redis cannot be reached; 1: each node grants the whole limit."""
