"""Which versions leave memory when another one needs room: a pure function of what is there.

A version is worth keeping for the loading that it saves: how often it is asked, times how long it takes to load, per
byte. How often is what it was asked while in memory, and no more than its present silence allows.

Two rules keep versions from chasing each other out. One stays for `STAYS` times as long as it took to load, so that at
most a sixth of the time goes into loading; sooner it leaves only when it is idle and has been for as long as a load
takes. And one that is busy leaves only when no idle ones make room; its calls are answered first.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

STAYS = 5.0
LONGEST_STAY_S = 5.0
_INSTANT_S = 1e-4


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """One version in memory."""

    id: int
    bytes: int
    load_s: float
    """How long its load took."""
    stay_s: float
    """How long it has been in memory."""
    idle_s: float
    """Since it was last asked."""
    uses: int
    """Runs since it was loaded."""
    busy: bool
    """Calls are in progress."""
    pinned: bool


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Who leaves. Nobody where that would not make room: then `wait_s` says when to ask again."""

    leave: tuple[int, ...] = ()
    wait_s: float | None = None
    """None with nobody leaving: what is pinned leaves no room, however long one waits."""


def choose(tenants: Sequence[Tenant], wanted: int) -> Choice:
    """Who leaves to free `wanted` bytes."""
    movable = [tenant for tenant in tenants if not tenant.pinned]
    if sum(tenant.bytes for tenant in movable) < wanted:
        return Choice()
    settled = sorted((t for t in movable if not _unsettled_s(t)), key=lambda t: (t.busy, worth(t)))
    leave = _enough(settled, wanted)
    if leave is None:
        return Choice(wait_s=min(s for s in map(_unsettled_s, movable) if s))
    return Choice(leave=tuple(tenant.id for tenant in leave))


def _enough(settled: list[Tenant], wanted: int) -> list[Tenant] | None:
    """The first that free `wanted` bytes together, without those that a larger one behind them made unnecessary."""
    leave: list[Tenant] = []
    freed = 0
    for tenant in settled:
        if freed >= wanted:
            break
        leave.append(tenant)
        freed += tenant.bytes
    if freed < wanted:
        return None
    needed = []
    for tenant in reversed(leave):
        if freed - tenant.bytes >= wanted:
            freed -= tenant.bytes
        else:
            needed.append(tenant)
    return needed


def worth(tenant: Tenant) -> float:
    """Seconds of loading that each of its bytes saves per second."""
    often = min(tenant.uses / max(tenant.stay_s, _INSTANT_S), 1 / max(tenant.idle_s, _INSTANT_S))
    return often * max(tenant.load_s, _INSTANT_S) / max(tenant.bytes, 1)


def _unsettled_s(tenant: Tenant) -> float:
    """How long it may still stay; 0.0: it may leave."""
    remaining = min(STAYS * tenant.load_s, LONGEST_STAY_S) - tenant.stay_s
    if remaining <= 0 or (not tenant.busy and tenant.idle_s >= tenant.load_s):
        return 0.0
    return remaining if tenant.busy else max(min(remaining, tenant.load_s - tenant.idle_s), _INSTANT_S)
