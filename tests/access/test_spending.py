"""What batch jobs compute counts for their tenant's day, beside what its requests ask."""

from __future__ import annotations

import pytest

from kaname.access.buckets import NodeCells, day_count
from kaname.access.quotas import SLOTS
from kaname.access.spending import Spending
from kaname.access.types import KeyInfo, TenantInfo
from kaname.access.usage import Usage
from kaname.clock import ManualClock
from kaname.errors import NotFound
from kaname.storage.shared.memory import MemoryStore
from kaname.storage.shared.types import SharedStore
from tests.access.test_tenants import Deaf

SHOP = TenantInfo(name="shop", number=1, rows_per_day=1000, created_us=0)
FREE = TenantInfo(name="free", number=2, created_us=0)
TENANTS = {"shop": SHOP, "free": FREE}
KEYS = {"k1": "shop", "k2": "free", "k3": None, "k4": "gone"}
DAY_MS = 86_400_000


def key(key_id: str) -> KeyInfo:
    if key_id not in KEYS:
        raise NotFound("no such key")
    return KeyInfo(id=key_id, number=1, name="", scopes=(), hash="", tenant=KEYS[key_id], created_us=0)


def tenant(name: str) -> TenantInfo:
    if name not in TENANTS:
        raise NotFound("no such tenant")
    return TENANTS[name]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cells() -> NodeCells:
    return NodeCells(days=[0.0] * SLOTS * 3, slots=2)


def spending(clock: ManualClock, cells: NodeCells, store: SharedStore | None = None) -> Spending:
    return Spending(clock, cells, store, key, tenant)


def test_rows_of_jobs_and_of_requests_are_one_day(clock: ManualClock, cells: NodeCells) -> None:
    """Each sees the other's; what was computed counts though it was more than was left; midnight begins anew."""
    spend = spending(clock, cells).spend
    requests = day_count(SHOP, 1000, clock, cells._replace(slot=1))
    assert spend("k1", 600) == 0.0
    assert requests.take(300) == 0.0
    assert requests.take(101) > 0.0
    wait_s = spend("k1", 5000)
    assert 0.0 < wait_s <= 86_400
    assert requests.take(1) > 0.0
    assert Usage(clock, cells, None).today([SHOP]) == {"shop": 5900}
    assert spend("k1", 0) == pytest.approx(wait_s)
    clock.advance(ms=DAY_MS)
    assert spend("k1", 0) == 0.0
    assert requests.take(1000) == 0.0


@pytest.mark.parametrize("key_id", ["k2", "k3", "k4", "cli:ann"])
def test_who_has_no_daily_quota_is_not_counted(clock: ManualClock, cells: NodeCells, key_id: str) -> None:
    """No limit, no tenant, one that was removed, or no key at all."""
    assert spending(clock, cells).spend(key_id, 10**9) == 0.0
    assert cells.days == [0.0] * SLOTS * 3


def test_a_fleet_counts_together(clock: ManualClock, cells: NodeCells) -> None:
    """In the store that it shares; while that does not answer, the node counts alone."""
    store = MemoryStore(clock)
    here, there = spending(clock, cells, store), spending(clock, NodeCells(days=[0.0] * SLOTS * 3), store)
    assert here.spend("k1", 999) == 0.0
    assert there.spend("k1", 500) > 0.0
    assert here.spend("k1", 0) > 0.0
    assert Usage(clock, cells, store).today([SHOP]) == {"shop": 1000}
    assert spending(clock, cells, Deaf(clock)).spend("k1", 7) == 0.0
    assert Usage(clock, cells, None).today([SHOP]) == {"shop": 7}
