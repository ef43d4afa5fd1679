"""How features are read for predictions."""

from __future__ import annotations

import msgspec

from kaname.settings.units import Bytes, Count, Millis, Share


class FeatureSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Caches of the rows that views read from stores over the network, and what is done while such a store fails."""

    l1_ttl_ms: Millis = 60_000.0
    """How long a process keeps a row that it has read, or that there is none; 0: it does not."""
    l1_max_bytes: Bytes = 64 * 1024 * 1024
    """Most that a process keeps; what is asked rarely goes first."""
    l2_ttl_ms: Millis = 300_000.0
    """How long a row is kept for all nodes, where they share a Redis (`shared.redis_url`); 0: not at all."""
    cache_embedded: bool = False
    """Keep rows of embedded stores, too: reading them takes no longer than looking into a cache."""
    stale_ms: Millis = 3_600_000.0
    """How long a row that was kept may stand in when its store does not answer, after its time."""
    lookup_ms: Millis = 50.0
    """Longest time that a prediction waits for stores; then what is kept and defaults are used."""
    shared_ms: Millis = 10.0
    """Longest wait of a thread for Redis before it asks the store."""
    threads: Count = 8
    """Threads of a worker that ask the store of one schema; each asks for up to 128 rows at once."""
    breaker_window: Count = 20
    """Newest questions to a store that are looked at for whether it is left alone."""
    breaker_failure_share: Share = 0.5
    """Share of them that failed, or took longer than `lookup_ms`, at which it is."""
    breaker_wait_ms: Millis = 1_000.0
    """How long it is left alone before it is tried again."""
