"""API keys and tenants as facts."""

from __future__ import annotations

import msgspec

from kaname.call import Priority


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One API key; the key itself is known only to its holder.

    Scopes are `predict:<model>`, `read:<relation>`, `write:<relation>` (`*`: all of them), `read`, `write`, `admin`;
    `admin` implies all, `write` implies `read`.
    """

    id: str
    number: int = 0
    """Rising, never used again; the key's place in memory that the workers share."""
    name: str
    hash: str
    """BLAKE2b-256 of the key, hexadecimal. Keys hold 256 random bits, so a slow hash adds nothing."""
    scopes: tuple[str, ...]
    rate_rows_per_s: float | None = None
    """Rows per second over all models; None: the project's default (`access.rate_rows_per_s`)."""
    burst_rows: int | None = None
    """Rows that may come at once; None: one second's worth. A larger request is refused for good."""
    priority: Priority = "normal"
    """Of its requests under overload; a request may ask for less."""
    tenant: str | None = None
    """The tenant that it belongs to; None: nobody's limits hold but its own."""
    created_us: int
    revoked_us: int | None = None


class TenantInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant: its limits hold over all its keys, workers and nodes together. None: no limit."""

    name: str
    number: int = 0
    """Rising, never used again; its place in memory that the workers share."""
    rate_rows_per_s: float | None = None
    burst_rows: int | None = None
    """Rows that may come at once; None: one second's worth. A larger request is refused for good."""
    rows_per_day: int | None = None
    """Rows per day, from midnight to midnight UTC."""
    declared: bool = False
    """Whether the limits are those of the settings."""
    created_us: int
