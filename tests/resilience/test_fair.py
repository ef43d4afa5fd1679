"""Who goes first of those who wait."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kaname.resilience.fair import TURN, FairQueue

NORMAL, LOW = 2, 3


def _queue(*pushed: tuple[int, str, str]) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue(4)
    for level, owner, item in pushed:
        queue.push(level, owner, item, 0)
    return queue


def _taken(queue: FairQueue[str], count: int) -> list[str]:
    found = [queue.pop() for _ in range(count)]
    return [one[0] for one in found if one is not None]


def test_one_owner_is_served_in_order() -> None:
    """Requests of one caller are not reordered."""
    queue = _queue(*[(NORMAL, "a", f"a{n}") for n in range(5)])
    assert _taken(queue, 9) == ["a0", "a1", "a2", "a3", "a4"]


def test_owners_take_turns() -> None:
    """A caller with a hundred waiting does not keep one with two behind them."""
    queue = _queue(*[(NORMAL, "greedy", f"g{n}") for n in range(100)], (NORMAL, "b", "b0"), (NORMAL, "b", "b1"))
    assert _taken(queue, 4) == ["g0", "b0", "g1", "b1"]


def test_who_asks_seldom_goes_before_who_asks_all_the_time() -> None:
    """A caller who comes for the first time passes one who has been served and waits again."""
    queue = _queue((NORMAL, "greedy", "g0"))
    for n in range(1, 20):
        queue.push(NORMAL, "greedy", f"g{n}", 0)
        assert _taken(queue, 1) == [f"g{n - 1}"]
    queue.push(NORMAL, "greedy", "g20", 0)
    queue.push(NORMAL, "seldom", "s", 0)
    assert "s" in _taken(queue, 2)


def test_who_was_passed_over_goes_first_the_next_time() -> None:
    """What was taken and could not be served costs its owner nothing."""
    queue = _queue((NORMAL, "a", "a0"), (NORMAL, "b", "b0"))
    assert _taken(queue, 2) == ["a0", "b0"]
    queue.unserved(NORMAL, "b")
    queue.push(NORMAL, "a", "a1", 0)
    queue.push(NORMAL, "b", "b1", 0)
    assert _taken(queue, 2) == ["b1", "a1"]


def test_important_requests_go_first_and_others_do_not_starve() -> None:
    """One of every eight taken is of the least important level."""
    queue = _queue(*[(NORMAL, "a", f"n{n}") for n in range(80)], *[(LOW, "b", f"l{n}") for n in range(80)])
    kinds = Counter(item[0] for item in _taken(queue, 8 * TURN))
    assert kinds == {"n": 7 * TURN, "l": TURN}


def test_an_important_arrival_takes_the_place_of_the_greediest_unimportant() -> None:
    """Its newest request is given up; nothing as important as the arrival ever is."""
    queue = _queue((LOW, "a", "a0"), (LOW, "b", "b0"), (LOW, "b", "b1"), (NORMAL, "c", "c0"))
    assert queue.evict(NORMAL) == "b1"
    assert (queue.evict(NORMAL), queue.evict(NORMAL)) == ("b0", "a0") or queue.size == 1
    assert queue.evict(NORMAL) is None
    assert _taken(queue, 3) == ["c0"]


@given(st.lists(st.tuples(st.sampled_from(["push", "pop", "remove", "evict"]), st.integers(0, 3), st.integers(0, 2))))
def test_nothing_is_lost_or_served_twice(steps: list[tuple[str, int, int]]) -> None:
    """Whatever happens in whichever order, each item leaves once, and sizes and counts agree."""
    queue: FairQueue[int] = FairQueue(4)
    inside: dict[int, tuple[int, str]] = {}
    for number, (what, level, owner) in enumerate(steps):
        if what == "push":
            queue.push(level, str(owner), number, number)
            inside[number] = level, str(owner)
        elif what == "pop":
            popped = queue.pop()
            assert (popped is None) == (not inside)
            if popped is not None:
                assert popped[1] == popped[0]
                del inside[popped[0]]
        elif what == "remove" and inside:
            item = next(iter(inside))
            queue.remove(inside.pop(item)[0], item)
            queue.remove(level, item)
        elif what == "evict":
            evicted = queue.evict(level)
            lower = [item for item, (at, _) in inside.items() if at > level]
            assert (evicted in lower) if lower else evicted is None
            if evicted is not None:
                del inside[evicted]
        assert queue.size == len(inside)
        assert queue.ahead(level) == sum(at <= level for at, _ in inside.values())
        for at, who in inside.values():
            assert queue.waits(at, who)
