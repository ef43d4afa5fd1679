"""Every setting of a project in one Struct: `kaname.yaml` and `KANAME_…` fill it, `kaname settings` prints it.

Durations and sizes carry their unit in the name. The room `project` reads the file and the environment. A password, a
key, or a URL that may hold one is a `kaname.secret.Secret`, with a `…_file` setting below it: neither logs, errors nor
`kaname settings` show its value.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kaname.secret import Secret

Count = Annotated[int, Meta(ge=1)]
Bytes = Annotated[int, Meta(ge=0)]
Millis = Annotated[float, Meta(ge=0)]
Rate = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Device = Literal["auto", "cpu", "cuda", "tensorrt"]
OverloadAnswer = Literal["shed", "value", "queue"]
RecordPolicy = Literal["sample", "drop", "block"]
Algorithm = Literal["RS256", "ES256", "EdDSA"]
SCOPE = r"predict:(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,127})|read|write|admin"
"""What a key or token may be allowed; `access.scopes` says what each means."""
Scope = Annotated[str, Meta(pattern=f"^({SCOPE})$")]


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS on the server's ports. New files are taken within a second, without a restart."""

    certificate: str | None = None
    """File of the certificate chain (PEM), the server's own first; none: no TLS."""
    key: str | None = None
    """File of the private key (PEM); none: it is in the file of the certificate."""
    key_password: Secret | None = None
    """Password of an encrypted private key."""
    key_password_file: str | None = None
    """File that holds the password."""
    minimum: Literal["1.2", "1.3"] = "1.3"
    """Oldest version of TLS that clients may speak."""
    client_ca: str | None = None
    """File of the authorities (PEM) that vouch for certificates of clients; none: clients show none."""
    clients: Literal["optional", "required"] = "optional"
    """Whether clients must show a certificate where there is `client_ca`."""
    handshake_timeout_ms: Annotated[float, Meta(ge=100)] = 5_000
    """Time in which a handshake must be done."""
    hsts_max_age_s: Annotated[int, Meta(ge=0)] = 0
    """How long browsers must come back with TLS (HSTS); 0: answers say nothing, for it would bind the whole host."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the server listens and what it accepts from one connection."""

    host: str = "127.0.0.1"
    """Address to bind. Anything but loopback needs `access.authentication: required`."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    """TCP port; 0 picks a free one."""
    grpc_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """TCP port of the gRPC protocols; 0: none. Needs the extra `grpc`."""
    grpc_calls: Count = 64
    """gRPC calls that a worker reads and waits for at once, each on a thread; others wait their turn."""
    grpc_streams: Count = 16
    """gRPC streams open at once per worker, each on threads of its own; one more is refused."""
    workers: Count = 1
    """Worker processes; one per core is the most that helps."""
    max_body_bytes: Bytes = 64 * 1024 * 1024
    """Largest request body."""
    max_header_bytes: Bytes = 32 * 1024
    """Largest request head, all headers together."""
    max_headers: Count = 100
    """Most header lines in a request."""
    header_timeout_ms: Millis = 10_000
    """Time in which a request's head must arrive."""
    body_timeout_ms: Millis = 60_000
    """Time in which a request's body must arrive."""
    keep_alive_ms: Millis = 75_000
    """Idle time after which a connection is closed."""
    stream_lines: Count = 64
    """Lines of one stream of predictions in progress at once."""
    stream_line_bytes: Bytes = 1024 * 1024
    """Longest line of a stream of predictions, and bytes of its lines in progress."""
    drain_ms: Millis = 30_000
    """Longest wait for requests in progress after SIGTERM."""
    inflight_bytes: Bytes = 512 * 1024 * 1024
    """Request bytes a worker holds before it stops reading from its connections."""
    refusals_per_s: Count = 100
    """Refusals for overload per connection; beyond them it is not read for up to a quarter of a second."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names accepted beside the bound address; a request for another is refused (DNS rebinding)."""
    allowed_origins: tuple[str, ...] = ()
    """Browser origins accepted beside the server's own."""
    tls: TlsSettings = TlsSettings()


class TokenIssuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody whose signed tokens (JWT) are accepted in the place of API keys."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,23}$")]
    """Short name; limits and records know who came with a token as `NAME:SUBJECT`."""
    issuer: Annotated[str, Meta(min_length=1)]
    """The claim `iss`, exactly."""
    audience: Annotated[tuple[str, ...], Meta(min_length=1)]
    """A token must be meant for one of these (`aud`)."""
    jwks: str | None = None
    """Its keys (JWK set): a file, or a URL; None: as the issuer's metadata say."""
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ("RS256", "ES256", "EdDSA")
    """How tokens may be signed."""
    claim: str = "scope"
    """The claim that says what the caller may do: text, or a list; a dotted path reaches into objects."""
    scopes: dict[str, tuple[Scope, ...]] | None = None
    """What each value of the claim allows here; None: the values are Kaname's own scopes. Others allow nothing."""
    leeway_ms: Annotated[float, Meta(ge=0, le=300_000)] = 30_000
    """How far the issuer's clock may be off."""
    refresh_ms: Annotated[float, Meta(ge=1_000)] = 300_000
    """How often keys behind a URL are read again."""
    rate_rows_per_s: Rate | None = None
    """Limit of each caller; None: the default limit of a key."""
    ca: str | None = None
    """File of the certificates that vouch for the issuer's server; None: the system's."""


class ClientCertificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the holder of a certificate may do that `server.tls.client_ca` vouches for."""

    name: Annotated[str, Meta(pattern=r"^(CN=|DNS:|URI:|email:)[!-~]([ -~]*[!-~])?$", max_length=64)]
    """A name in the certificate: `CN=shop`, `DNS:shop.example`, `URI:spiffe://example/shop`."""
    scopes: tuple[Scope, ...]
    """What it may do."""
    rate_rows_per_s: Rate | None = None
    """Its limit; None: the default limit of a key."""


class OAuthSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The server's own OAuth 2.0 token endpoint: short-lived tokens for API keys. Needs the extra `security`."""

    enabled: bool = False
    """Whether `/oauth/token` answers, and its tokens are accepted."""
    issuer: str | None = None
    """The URL under which clients know the server, without a path; None: as each request names it."""
    audience: Annotated[str, Meta(min_length=1)] = "kaname"
    """The claim `aud` of its tokens."""
    ttl_ms: Annotated[int, Meta(ge=1_000, le=86_400_000)] = 600_000
    """How long a token is valid."""
    algorithm: Algorithm = "ES256"
    """How tokens are signed; a change takes effect with the next rotation of the keys."""
    keys_file: str | None = None
    """File of the signing keys, which nodes with the same one share; None: one in the project's data folder."""


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may ask, and how much."""

    authentication: Literal["required", "off"] = "required"
    """`required`: every request but health needs a key. `off`: anyone who reaches the port is admin."""
    allow_insecure_bind: bool = False
    """Permit binding another address than loopback while authentication is off."""
    rate_rows_per_s: float | None = None
    """Default limit of a key, in rows per second; 1,000 in profile `cluster`, none in `local`."""
    tokens: tuple[TokenIssuer, ...] = ()
    """Issuers whose signed tokens are accepted beside API keys. Needs the extra `security`."""
    oauth: OAuthSettings = OAuthSettings()
    certificates: tuple[ClientCertificate, ...] = ()
    """Clients that need no key because of the certificate that they show."""


TenantName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one tenant, over all its keys, workers and nodes. None: no limit."""

    rate_rows_per_s: Rate | None = None
    """Rows per second."""
    burst_rows: Count | None = None
    """Rows that may come at once; None: one second's worth."""
    rows_per_day: Count | None = None
    """Rows per day, from midnight to midnight UTC."""


class InferenceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models run."""

    memory_bytes: Bytes = 0
    """Memory that models may take on this node, in equal shares for its workers; 0: half of what the machine has."""
    device: Device = "auto"
    """Where ONNX models run: `auto` (CUDA where there is one, else the processor), `cpu`, `cuda`, `tensorrt`."""
    device_bytes: Bytes = 0
    """Most of a device's memory that one session takes; 0: what there is."""
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
    """Encryption at rest of artefacts and the prediction record. Needs the extra `security`."""

    keys: Secret | None = None
    """Lines `name: key`, as `kaname encryption new-key` prints them; what is new is encrypted with the first."""
    keys_file: str | None = None
    """File that holds them."""
    active_key: str = ""
    """Name of the key for what is new, in place of the first."""


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
    on worker threads."""
    patience_ms: Millis | None = None
    """Wait for the runtime beyond which adaptive admission takes the model for overloaded; None: a second, or 100 runs
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
    overload: OverloadAnswer = "shed"
    """What is said when more is asked than can be answered: `shed` refuses with 503, `value` answers `overload_value`,
    `queue` answers 202 with an id under which the answer is found later (over HTTP; elsewhere it refuses)."""
    overload_value: tuple[Any, ...] | None = None
    """The answer of one row under `overload: value`: a value per output, in the order of the signature."""


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
    artefacts: ArtefactSettings = ArtefactSettings()
    database: DatabaseSettings = DatabaseSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    models: ModelConfig = ModelConfig()
    """Defaults of every model; a model's own configuration overrides them field by field."""
