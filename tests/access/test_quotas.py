"""What a tenant's keys may ask together, on one node."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kaname.access.buckets import Buckets, NodeCells
from kaname.access.drawing import seconds_left
from kaname.access.levels import Levels
from kaname.access.principals import Principals
from kaname.access.quotas import SLOTS, DayCount
from kaname.access.types import KeyInfo, TenantInfo
from kaname.clock import ManualClock
from kaname.errors import RateLimited, TooLarge

OTHER = """
import sys
from pathlib import Path
from kaname.access.levels import Levels
from kaname.access.quotas import DayCount
from kaname.clock import ManualClock
cells = Levels(Path(sys.argv[1]), 2048).values
day = DayCount(1_000_000, ManualClock(), cells, 256, 1, 2)
for _ in range(20_000):
    day.take(1)
print(day.used() >= 20_000)
"""


def key(name: str, tenant: str | None, rate: float | None = None) -> KeyInfo:
    return KeyInfo(
        id=name,
        number=ord(name[-1]),
        name=name,
        hash="",
        scopes=("predict:*",),
        rate_rows_per_s=rate,
        tenant=tenant,
        created_us=0,
    )


def principals(clock: ManualClock, keys: list[KeyInfo], *tenants: TenantInfo) -> Principals:
    return Principals(keys, Buckets(clock), tenants=tenants)


def take(known: Principals, name: str, rows: int) -> float:
    """What the limiter of a key says."""
    limiter = known._known[name][1].limiter
    assert limiter is not None
    return limiter(rows)


def test_the_keys_of_a_tenant_share_its_rate_and_the_refusal_names_it() -> None:
    """Two keys, ten rows together; another tenant and a key without one are not touched."""
    clock = ManualClock()
    shop = TenantInfo(name="shop", number=1, rate_rows_per_s=10, created_us=0)
    lab = TenantInfo(name="lab", number=2, rate_rows_per_s=10, created_us=0)
    known = principals(clock, [key("a", "shop"), key("b", "shop"), key("c", "lab"), key("d", None)], shop, lab)
    assert take(known, "a", 6) == take(known, "b", 4) == take(known, "c", 10) == 0.0
    with pytest.raises(RateLimited, match="rate limit of this tenant is spent") as caught:
        take(known, "b", 2)
    assert caught.value.where == "tenant shop"
    assert caught.value.retry_after_s == pytest.approx(0.2, abs=0.001)
    assert known._known["d"][1].limiter is None
    with pytest.raises(TooLarge):
        take(known, "a", 11)


def test_a_day_is_counted_over_all_keys_until_midnight() -> None:
    """Refused with the time until midnight; the rate of the tenant is not charged for what is refused."""
    clock = ManualClock()
    shop = TenantInfo(name="shop", number=1, rate_rows_per_s=10, burst_rows=100, rows_per_day=50, created_us=0)
    known = principals(clock, [key("a", "shop"), key("b", "shop")], shop)
    assert take(known, "a", 30) == take(known, "b", 15) == 0.0
    for _ in range(20):
        with pytest.raises(RateLimited, match="daily quota of this tenant is spent") as caught:
            take(known, "b", 10)
    assert caught.value.retry_after_s == pytest.approx(seconds_left(clock))
    assert "50 rows per day" in str(caught.value)
    assert take(known, "a", 5) == 0.0
    clock.advance(ms=seconds_left(clock) * 1000 + 1)
    assert take(known, "b", 50) == 0.0


def test_what_a_tenant_refuses_is_not_taken_from_the_key() -> None:
    """The key's own bucket is as full as before."""
    clock = ManualClock()
    shop = TenantInfo(name="shop", number=1, rate_rows_per_s=5, created_us=0)
    known = principals(clock, [key("a", "shop", rate=10), key("b", "shop")], shop)
    assert take(known, "b", 5) == 0.0
    for _ in range(10):
        with pytest.raises(RateLimited):
            take(known, "a", 5)
    clock.advance(ms=1_000)
    assert take(known, "a", 5) == 0.0
    clock.advance(ms=200)
    assert take(known, "a", 1) == 0.0


def test_limits_that_do_not_change_are_not_refilled_by_a_new_snapshot() -> None:
    """Another key comes: what the tenant has used stays used. New limits begin anew."""
    clock, shop = ManualClock(), TenantInfo(name="shop", number=1, rate_rows_per_s=10, rows_per_day=12, created_us=0)
    buckets = Buckets(clock)
    known = Principals([key("a", "shop")], buckets, tenants=[shop])
    assert take(known, "a", 10) == 0.0
    known = Principals([key("a", "shop"), key("b", "shop")], buckets, tenants=[shop])
    with pytest.raises(RateLimited):
        take(known, "b", 1)
    wider = TenantInfo(name="shop", number=1, rate_rows_per_s=20, created_us=0)
    assert take(Principals([key("b", "shop")], buckets, tenants=[wider]), "b", 20) == 0.0


def test_a_key_of_a_tenant_that_is_unknown_here_has_its_own_limits_only() -> None:
    """An old snapshot beside a new key: it may ask, as far as its own rate goes."""
    known = principals(ManualClock(), [key("a", "gone", rate=3)])
    assert take(known, "a", 3) == 0.0
    assert take(known, "a", 1) > 0


def test_workers_count_one_day_together_and_lose_no_row(tmp_path: Path) -> None:
    """Two processes count at the same time: every row of both is there; a restart finds them again."""
    path = tmp_path / "days"
    cells = Levels(path, 2048)
    day = DayCount(1_000_000, ManualClock(), cells.values, SLOTS, 0, 2)
    with subprocess.Popen([sys.executable, "-c", OTHER, str(path)], stdout=subprocess.PIPE, text=True) as other:
        for _ in range(20_000):
            day.take(1)
        out, _ = other.communicate(timeout=60)
    assert out == "True\n"
    assert day.used() == 40_000
    again = DayCount(50_000, ManualClock(), Levels(path, 2048).values, SLOTS, 0, 2)
    assert again.take(10_001) > 0
    assert again.take(10_000) == 0.0


def test_workers_of_a_node_share_the_rate_of_a_model() -> None:
    """Two workers draw from one bucket; a change of the rate makes it anew, another model's is another."""
    clock, cells = ManualClock(), [0.0] * 100
    workers = [Buckets(clock, None, NodeCells(models=cells)) for _ in range(2)]
    one, other = (worker.of_model(7, 10.0) for worker in workers)
    assert one is not None
    assert other is not None
    assert one.take(6) == 0.0
    assert other.take(6) == pytest.approx(0.2, abs=0.001)
    assert workers[0].of_model(7, 10.0) is one
    assert workers[0].of_model(7, 20.0) is not one
    wide = workers[1].of_model(8, 10.0)
    assert wide is not None
    assert wide.take(10) == 0.0
    assert workers[1].of_model(8, None) is None
