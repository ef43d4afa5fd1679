"""Rows that are computed beside requests, as those of batch jobs, on the day of the tenant whose key asked for them."""

from __future__ import annotations

from collections.abc import Callable

from kaname.access.buckets import NodeCells, day_count
from kaname.access.drawing import DAY_S, day_key, day_of, seconds_left
from kaname.access.quotas import BESIDE
from kaname.access.types import KeyInfo, TenantInfo
from kaname.clock import Clock
from kaname.errors import NotFound, Unavailable
from kaname.storage.shared.types import Draw, SharedStore


class Spending:
    """Counts for one process of a node, which is alone in that. Blocks: on a thread."""

    def __init__(
        self,
        clock: Clock,
        cells: NodeCells,
        store: SharedStore | None,
        key: Callable[[str], KeyInfo],
        tenant: Callable[[str], TenantInfo],
    ) -> None:
        """`store`: what the nodes of a fleet share; `key` and `tenant` raise NotFound."""
        self._clock = clock
        self._cells = cells._replace(slot=BESIDE, slots=BESIDE)
        self._store = store
        self._key = key
        self._tenant = tenant

    def spend(self, key_id: str, rows: int) -> float:
        """Count rows that were computed for a key (0: only look). Returns in how many seconds its tenant may have more:
        0.0 while its day is not spent, and for who has no tenant, or one without a daily quota."""
        try:
            name = self._key(key_id).tenant
            tenant = None if name is None else self._tenant(name)
        except NotFound:  # who asked at the command line, or with a token of somebody else
            return 0.0
        if tenant is None or tenant.rows_per_day is None:
            return 0.0
        if self._store is not None:
            try:
                return self._drawn(self._store, tenant.name, tenant.rows_per_day, rows)
            except Unavailable:
                pass  # the node counts alone, as its requests do
        return day_count(tenant, tenant.rows_per_day, self._clock, self._cells).add(rows)

    def _drawn(self, store: SharedStore, name: str, most: int, rows: int) -> float:
        key = day_key(f"tenant:{name}", day_of(self._clock))
        (drawn,) = store.draw([Draw(key, 0, rows, 0.0, most, 2 * DAY_S * 1000)])
        if drawn is None:
            raise Unavailable("the store that nodes share does not answer")
        return 0.0 if drawn.missing < most else seconds_left(self._clock)
