"""What is kept: bounded in bytes, for its time, and rather what is asked again than what was asked once."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kaname.inference.cache.memory import ENTRY_BYTES, READY_ELEMENTS, Memory
from kaname.tensors import Tensor

NEVER = 2**62


def number(value: float, elements: int = READY_ELEMENTS + 1) -> tuple[Tensor, ...]:
    return (np.full((1, elements), value),)


STEPS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 300), st.booleans()), max_size=200)


@given(STEPS)
def test_the_bound_holds_and_what_is_found_was_put_there_last(steps: list[tuple[int, int, bool]]) -> None:
    """Any sequence of puts and looks: never more bytes than allowed, the count is right, no answer is another's."""
    memory, newest = Memory(10_000), dict[bytes, int]()
    for key, size, looks in steps:
        name = b"%d" % key
        if looks:
            found = memory.get(name, 0)
            assert found is None or found.tensors[0].shape == (1, newest[name])
        else:
            memory.put(name, number(key, size), NEVER)
            newest[name] = size if memory.get(name, 0) is not None else newest.get(name, 0)
        assert memory.bytes <= 10_000
        assert memory.bytes == sum(entry.size for entry in memory._entries.values())
        assert len(memory._small) + len(memory._main) == len(memory)
        assert memory._small_bytes == sum(entry.size for entry in memory._small)


def test_an_answer_is_found_until_its_time_is_over_and_takes_the_place_of_the_old_one() -> None:
    """The moment of expiry is the first at which it is not found; putting it again keeps one entry."""
    memory = Memory(100_000)
    memory.put(b"k", number(1), 100)
    assert memory.get(b"k", 99) is not None
    assert memory.get(b"k", 100) is None
    memory.put(b"k", number(2, 500), 300)
    found = memory.get(b"k", 299)
    assert found is not None
    assert found.tensors[0][0, 0] == 2
    assert found.cached
    assert (len(memory), memory.bytes > 500 * 8) == (1, True)


def test_an_answer_that_fits_nowhere_is_given_and_not_kept() -> None:
    """Larger than everything: its followers get it, nobody else is evicted for it."""
    memory = Memory(5_000)
    memory.put(b"small", number(1), NEVER)
    outputs = memory.put(b"large", number(2, 10_000), NEVER)
    assert outputs.tensors[0][0, 0] == 2
    assert memory.get(b"large", 0) is None
    assert memory.get(b"small", 0) is not None


def test_a_scan_does_not_push_out_what_is_asked_again() -> None:
    """Ten thousand inputs that come once leave the ones that come again where they are."""
    memory = Memory(100 * (ENTRY_BYTES + 600))
    hot = [b"hot%d" % i for i in range(20)]
    for key in hot:
        memory.put(key, number(0), NEVER)
        memory.get(key, 0)
    for i in range(10_000):
        memory.put(b"%d" % i, number(i), NEVER)
        memory.get(hot[i % 20], 0)
    assert all(memory.get(key, 0) is not None for key in hot)
    assert memory.evicted > 9_000


def test_skewed_traffic_hits_more_often_than_with_the_least_recently_used_going_first() -> None:
    """Zipf traffic over a hundred times the room: better than LRU with the same number of places."""
    keys = [b"%d" % key for key in np.random.default_rng(1).zipf(1.1, 40_000) % 10_000]
    memory = Memory(100 * (ENTRY_BYTES + (READY_ELEMENTS + 1) * 8 + 2))
    recent, hits, lru_hits = OrderedDict[bytes, None](), 0, 0
    for key in keys:
        if memory.get(key, 0) is not None:
            hits += 1
        else:
            memory.put(key, number(0), NEVER)
        if key in recent:
            lru_hits += 1
            recent.move_to_end(key)
        else:
            recent[key] = None
            if len(recent) > 100:
                recent.popitem(last=False)
    assert hits > lru_hits * 1.1


def test_small_outputs_share_what_was_written_of_them_and_large_ones_are_charged_for_no_more_than_they_hold() -> None:
    """A second hit on a small answer finds the texts of the first."""
    memory = Memory(100_000)
    memory.put(b"small", number(1.5, 3), NEVER)
    memory.put(b"large", number(1.5, 1_000), NEVER)
    first, second = memory.get(b"small", 0), memory.get(b"small", 0)
    assert first is second
    assert memory.get(b"large", 0) is not memory.get(b"large", 0)
    assert memory.bytes < 2 * ENTRY_BYTES + 8_000 + 24 + 300 + 20
