"""Makes what limits keys, models and tenants: in memory that a node's workers share, or drawn from a fleet's store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, cast

from kaname.access.drawing import Drawing, Shares, Take
from kaname.access.levels import NodeLevels
from kaname.access.limiter import Cells, TokenBucket
from kaname.access.quotas import BESIDE, SLOTS, Bucket, DayCount, Quota, limiter_of
from kaname.access.types import KeyInfo, TenantInfo
from kaname.clock import Clock
from kaname.settings import Settings

_SUBJECTS = 65_536
"""Callers with tokens whose buckets are remembered."""


class NodeCells(NamedTuple):
    """What the workers of a node count together, by number; None: each by itself."""

    models: Cells | None = None
    tenants: Cells | None = None
    days: Cells | None = None
    slot: int = 0
    """This worker's."""
    slots: int = 1
    """How many workers count."""


def node_cells(levels: NodeLevels, slot: int = 0, slots: int = 1) -> NodeCells:
    """The shared memory of a node, for its worker `slot` of `slots`."""
    models, tenants, days = (cast("Cells", one.values) for one in (levels.models, levels.tenants, levels.days))
    return NodeCells(models, tenants, days, slot, slots)


class Fleet(NamedTuple):
    """Where the nodes of a fleet draw from, and by how much a limit is divided while they cannot."""

    shares: Shares
    nodes: int = 1


class Buckets:
    """The buckets of one worker; outlives the snapshots, so that a change of keys or limits refills nothing else."""

    def __init__(
        self, clock: Clock, levels: Cells | None = None, cells: NodeCells | None = None, fleet: Fleet | None = None
    ) -> None:
        """`levels`: shared cells indexed by a key's number; a key beyond their end gets a bucket of its own."""
        self._clock = clock
        self._levels = levels
        self._cells = cells or NodeCells()
        self._fleet = fleet
        self._kept: dict[str, Bucket] = {}
        self._quotas: dict[str, tuple[TenantInfo, Quota]] = {}
        self._subjects: dict[str, TokenBucket] = {}

    @property
    def is_shared(self) -> bool:
        """Whether limits are those of a fleet."""
        return self._fleet is not None

    def limiter(self, key: KeyInfo, default_rate: float | None, tenants: dict[str, TenantInfo]) -> Take | None:
        """What limits `key`, together with its tenant; None: nothing."""
        tenant = None if key.tenant is None else tenants.get(key.tenant)
        return limiter_of(self.of(key, default_rate), None if tenant is None else self.quota(tenant))

    def of(self, key: KeyInfo, default_rate: float | None) -> Bucket | None:
        """The bucket of `key`, made anew when its limits changed; None without a limit."""
        rate = default_rate if key.rate_rows_per_s is None else key.rate_rows_per_s
        levels = None if self._levels is None else _within(self._levels, len(self._levels) // 2, key.number)
        return self._bucket(f"key:{key.id}", rate, key.burst_rows, levels, key.number)

    def of_model(self, model_id: int, rate: float | None) -> Bucket | None:
        """The bucket of a model; None without a limit."""
        cells = self._cells.models
        levels = None if cells is None else _within(cells, len(cells), model_id)
        return self._bucket(f"model:{model_id}", rate, None, levels, model_id)

    def quota(self, tenant: TenantInfo) -> Quota:
        """The limits of a tenant, made anew when they changed."""
        kept = self._quotas.get(tenant.name)
        if kept is None or kept[0] != tenant:
            kept = self._quotas[tenant.name] = tenant, self._quota(tenant)
        return kept[1]

    def of_subject(self, subject: str, rate: float | None) -> TokenBucket | None:
        """The bucket of a caller that has no key, at `rate` rows per second; None without a limit.

        Such callers share the upper half of the cells by a hash of their names: two that meet in one share a limit.
        """
        if rate is None:
            return None
        kept = self._subjects.get(subject)
        if kept is None or kept.rate != rate:
            if len(self._subjects) >= _SUBJECTS:
                del self._subjects[next(iter(self._subjects))]
            kept = self._subjects[subject] = self._make_for(subject, rate)
        return kept

    def keep_only(self, key_ids: Iterable[str]) -> None:
        """Forget the buckets of all other keys."""
        stay = {f"key:{key_id}" for key_id in key_ids}
        for name in [name for name in self._kept if name.startswith("key:") and name not in stay]:
            del self._kept[name]

    def _bucket(self, name: str, rate: float | None, burst: int | None, levels: Cells | None, at: int) -> Bucket | None:
        if rate is None:
            self._kept.pop(name, None)
            return None
        made = self._alone(rate, burst, levels, at)
        kept = self._kept.get(name)
        if kept is None or (kept.rate, kept.burst) != (made.rate, made.burst):
            alone = partial(self._alone, burst=made.burst, levels=levels, at=at)
            kept = self._kept[name] = self._shared(name, made, alone)
        return kept

    def _alone(self, rate: float, burst: int | None, levels: Cells | None, at: int) -> TokenBucket:
        if levels is None:
            return TokenBucket(rate, burst, self._clock)
        return TokenBucket(rate, burst, self._clock, levels=levels, at=at)

    def _shared(self, name: str, bucket: TokenBucket, alone: Callable[[float], TokenBucket]) -> Bucket:
        if self._fleet is None:
            return bucket
        shares, nodes = self._fleet
        return Drawing(name, bucket.rate, bucket.burst, shares, self._clock, alone(bucket.rate / nodes).take)

    def _quota(self, tenant: TenantInfo) -> Quota:
        cells = self._cells.tenants
        levels = None if cells is None else _within(cells, len(cells), tenant.number)
        name = f"tenant:{tenant.name}"
        bucket = self._bucket(name, tenant.rate_rows_per_s, tenant.burst_rows, levels, tenant.number)
        return Quota(tenant.name, bucket, self._day(name, tenant), tenant.rows_per_day or 0)

    def _day(self, name: str, tenant: TenantInfo) -> DayCount | Drawing | None:
        if tenant.rows_per_day is None:
            return None
        if self._fleet is None:
            return self._count(tenant, tenant.rows_per_day)
        alone = self._count(tenant, max(1, tenant.rows_per_day // self._fleet.nodes))
        return Drawing(name, 0.0, tenant.rows_per_day, self._fleet.shares, self._clock, alone.take)

    def _count(self, tenant: TenantInfo, most: int) -> DayCount:
        return day_count(tenant, most, self._clock, self._cells)

    def _make_for(self, subject: str, rate: float) -> TokenBucket:
        if self._levels is None or len(self._levels) < 2:
            return TokenBucket(rate, None, self._clock)
        half = len(self._levels) // 2
        at = half + int.from_bytes(hashlib.blake2b(subject.encode(), digest_size=8).digest()) % half
        return TokenBucket(rate, None, self._clock, levels=self._levels, at=at)


def day_count(tenant: TenantInfo, most: int, clock: Clock, cells: NodeCells) -> DayCount:
    """What the workers of a node count of a tenant's day, and who counts beside them."""
    days, at = cells.days, tenant.number * SLOTS
    if days is None or at + SLOTS > len(days) or not tenant.number:
        return DayCount(most, clock, [0.0], 0, 0, 1)
    return DayCount(most, clock, days, at, cells.slot % SLOTS, min(cells.slots, BESIDE), BESIDE)


def _within(cells: Cells, end: int, number: int) -> Cells | None:
    """The cells, where they have one of this number."""
    return cells if 0 < number < end else None


def node_buckets(clock: Clock, levels: NodeLevels, slot: int, settings: Settings, shares: Shares | None) -> Buckets:
    """The buckets of a node's worker `slot`: shared with its other workers, and with a fleet where there are shares."""
    fleet = None if shares is None else Fleet(shares, settings.shared.nodes)
    cells = node_cells(levels, slot, settings.server.workers)
    return Buckets(clock, cast("Cells", levels.keys.values), cells, fleet)
