"""Where the server listens, and what it accepts from one connection."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kaname.secret import Secret
from kaname.settings.units import Bytes, Count, Millis


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
    """Threads of a worker for gRPC calls that do not predict; sixteen times as many calls may be in progress."""
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
