"""How much of its day a tenant has used, as far as the node or the fleet knows."""

from __future__ import annotations

from collections.abc import Sequence

from kaname.access.buckets import NodeCells, day_count
from kaname.access.drawing import DAY_S, day_key, day_of
from kaname.access.quotas import SLOTS
from kaname.access.types import TenantInfo
from kaname.clock import Clock
from kaname.errors import Unavailable
from kaname.storage.shared.types import Draw, SharedStore


class Usage:
    """Blocks where a fleet's store is asked: on a thread."""

    def __init__(self, clock: Clock, cells: NodeCells, store: SharedStore | None) -> None:
        self._clock = clock
        self._cells = cells._replace(slots=SLOTS)
        self._store = store

    def today(self, tenants: Sequence[TenantInfo]) -> dict[str, int]:
        """Rows since midnight UTC of those tenants that have a daily quota, by name: of others nothing is counted.

        Of a fleet they include the few rows that workers have drawn ahead; while its store does not answer they are
        what this node has counted.
        """
        limited = {tenant: tenant.rows_per_day for tenant in tenants if tenant.rows_per_day is not None}
        alone = {t.name: day_count(t, most, self._clock, self._cells).used() for t, most in limited.items()}
        if self._store is None or not limited:
            return alone
        day, ttl_ms = day_of(self._clock), 2 * DAY_S * 1000
        draws = [Draw(day_key(f"tenant:{t.name}", day), 0, 0, 0.0, most, ttl_ms) for t, most in limited.items()]
        try:
            found = self._store.draw(draws)
        except Unavailable:
            return alone
        known = {t.name: int(drawn.missing) for t, drawn in zip(limited, found, strict=True) if drawn is not None}
        return alone | known
