"""Who leaves memory when another version needs room: a pure function, tried on cases and on random tenants."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from kaname.inference.eviction import LONGEST_STAY_S, STAYS, Choice, Tenant, choose, worth

USUAL: dict[str, Any] = {"bytes": 100, "load_s": 0.01, "stay_s": 60.0, "idle_s": 10.0, "uses": 10}


def tenant(number: int, *, busy: bool = False, pinned: bool = False, **facts: float) -> Tenant:
    return Tenant(id=number, busy=busy, pinned=pinned, **(USUAL | facts))


def test_the_longest_silent_leaves() -> None:
    """Recency decides between versions that are alike otherwise."""
    tenants = [tenant(n, idle_s=idle) for n, idle in enumerate((8.0, 30.0, 1.0))]
    assert choose(tenants, 100) == Choice(leave=(1,))
    assert set(choose(tenants, 150).leave) == {0, 1}


def test_what_is_dear_to_load_stays() -> None:
    """A load of two seconds outweighs a silence that is ten times as long."""
    tenants = [tenant(1, idle_s=100.0, load_s=2.0), tenant(2, idle_s=10.0, load_s=0.01)]
    assert choose(tenants, 100) == Choice(leave=(2,))


def test_what_is_asked_often_stays_behind_what_came_last() -> None:
    """A version asked a hundred times is not given up for one that was asked once, a moment later."""
    tenants = [tenant(1, uses=1000, stay_s=60, idle_s=0.5), tenant(2, uses=1, stay_s=20, idle_s=0.4)]
    assert choose(tenants, 100) == Choice(leave=(2,))


def test_no_more_leave_than_must() -> None:
    """When a large one has to go, the small ones before it stay."""
    tenants = [tenant(1, bytes=10, idle_s=50), tenant(2, bytes=10, idle_s=49), tenant(3, bytes=1000, idle_s=1)]
    assert choose(tenants, 900) == Choice(leave=(3,))


def test_pinned_never_leave() -> None:
    """They are not even looked at; when only they are there, waiting does not help, and it says so."""
    tenants = [tenant(1, pinned=True, idle_s=1e6), tenant(2)]
    assert choose(tenants, 100) == Choice(leave=(2,))
    assert choose(tenants, 101) == Choice(leave=(), wait_s=None)


def test_idle_ones_leave_before_busy_ones() -> None:
    """However much they are asked."""
    tenants = [tenant(1, busy=True, uses=1, idle_s=1.0), tenant(2, uses=10_000, idle_s=0.1)]
    assert choose(tenants, 100) == Choice(leave=(2,))
    assert set(choose(tenants, 200).leave) == {1, 2}


def test_one_that_has_just_come_stays_for_a_while() -> None:
    """Else two versions that do not fit together would spend all their time loading."""
    fresh = tenant(1, busy=True, load_s=0.1, stay_s=0.2, idle_s=0.0)
    choice = choose([fresh], 100)
    assert choice.leave == ()
    assert choice.wait_s is not None
    assert abs(choice.wait_s - (STAYS * 0.1 - 0.2)) < 1e-9
    later = tenant(1, busy=True, load_s=0.1, stay_s=STAYS * 0.1, idle_s=0.0)
    assert choose([later], 100) == Choice(leave=(1,))
    slow = tenant(1, busy=True, load_s=60.0, stay_s=LONGEST_STAY_S, idle_s=0.0)
    assert choose([slow], 100) == Choice(leave=(1,))


def test_one_that_is_idle_for_as_long_as_a_load_need_not_stay() -> None:
    """Nobody gains by keeping it: who waits is served sooner."""
    assert choose([tenant(1, load_s=0.1, stay_s=0.12, idle_s=0.1)], 100) == Choice(leave=(1,))


tenants_drawn = st.lists(
    st.builds(
        Tenant,
        id=st.integers(),
        bytes=st.integers(0, 10**9),
        load_s=st.floats(0, 100),
        stay_s=st.floats(0, 1e6),
        idle_s=st.floats(0, 1e6),
        uses=st.integers(0, 10**6),
        busy=st.booleans(),
        pinned=st.booleans(),
    ),
    unique_by=lambda t: t.id,
    max_size=12,
)


@given(tenants_drawn, st.integers(1, 10**9))
def test_a_choice_makes_room_or_says_how_long_to_wait(tenants: list[Tenant], wanted: int) -> None:
    """Enough leave, none of them pinned and none of whom could stay, or nobody."""
    choice = choose(tenants, wanted)
    by_id = {t.id: t for t in tenants}
    left = [by_id[number] for number in choice.leave]
    assert not any(t.pinned for t in left)
    if left:
        freed = sum(t.bytes for t in left)
        assert freed >= wanted
        assert all(freed - t.bytes < wanted for t in left)
    elif choice.wait_s is None:
        assert sum(t.bytes for t in tenants if not t.pinned) < wanted
    else:
        assert 0 < choice.wait_s <= LONGEST_STAY_S


@given(tenants_drawn)
def test_worth_is_a_number(tenants: list[Tenant]) -> None:
    """No moment, size or count makes it infinite or undefined."""
    assert all(0 <= worth(t) < float("inf") for t in tenants)
