"""What every shared store promises, asked of each kind with its real server."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaname.clock import ManualClock
from kaname.storage.shared.memory import MemoryStore
from kaname.storage.shared.types import Draw, Drawn, SharedStore, Value
from tests.processes import until

DAY_MS = 86_400_000


def draw(store: SharedStore, need: int, want: int, *, rate: float = 0.001, most: int = 10, key: str = "b") -> int:
    """The rows granted by one draw."""
    return drawn(store, Draw(key, need, want, rate, most, DAY_MS)).granted


def drawn(store: SharedStore, wanted: Draw) -> Drawn:
    """What came of one draw."""
    (found,) = store.draw([wanted])
    assert found is not None
    return found


def test_values_come_back_in_the_order_of_the_keys_and_vanish_in_time(store: SharedStore) -> None:
    """Any bytes; what is not there is None; a newer value replaces the older; nothing outlives its time."""
    store.put([Value("a", b"\x00\xff", 60_000), Value("b", b"", 60_000), Value("c", b"old", 60_000)])
    store.put([Value("c", b"new", 60_000), Value("d", b"soon gone", 30)])
    assert store.get(["c", "x", "a", "b"]) == [b"new", None, b"\x00\xff", b""]
    assert store.get([]) == []
    until(lambda: store.get(["d"]) == [None], "the value has vanished")


def test_a_value_may_be_kept_only_where_there_is_none(store: SharedStore) -> None:
    """A mark that was put before keeps it out, until the mark's time is over."""
    store.put([Value("absent:a", b"first", 60_000, absent=True)])
    store.put([Value("absent:a", b"second", 60_000, absent=True), Value("absent:b", b"other", 60_000, absent=True)])
    assert store.get(["absent:a", "absent:b"]) == [b"first", b"other"]
    store.put([Value("absent:a", b"", 60_000)])
    store.put([Value("absent:a", b"third", 60_000, absent=True)])
    assert store.get(["absent:a"]) == [b""]


def test_a_bucket_grants_what_is_needed_and_up_to_what_is_wanted(store: SharedStore) -> None:
    """All or nothing below the need, as much as there is above it, and what is missing is told."""
    assert draw(store, 3, 5) == 5
    assert draw(store, 4, 8) == 5
    empty = drawn(store, Draw("b", 1, 1, 0.001, 10))
    assert empty.granted == 0
    assert empty.missing == pytest.approx(10, abs=0.01)
    assert draw(store, 1, 1, key="another") == 1


def test_what_is_given_back_can_be_drawn_again_and_no_more_than_was_there(store: SharedStore) -> None:
    """A bucket does not overflow."""
    assert draw(store, 10, 10) == 10
    assert draw(store, 0, -4) == -4
    assert draw(store, 5, 5) == 0
    assert draw(store, 4, 4) == 4
    draw(store, 0, -100)
    assert draw(store, 1, 100) == 10


def test_a_bucket_fills_at_its_rate(store: SharedStore) -> None:
    """Empty now, one row more half a second later."""
    assert draw(store, 10, 10, rate=2) == 10
    assert draw(store, 1, 10, rate=2) == 0
    until(lambda: draw(store, 1, 1, rate=2) == 1, "a row has come in")


def test_an_allowance_without_a_rate_is_spent_for_good(store: SharedStore) -> None:
    """A day's rows do not come back before the day is over."""
    assert draw(store, 6, 6, rate=0.0) == 6
    assert store.draw([Draw("b", 5, 5, 0.0, 10, DAY_MS)]) == [Drawn(0, 6.0)]
    assert draw(store, 0, 5, rate=0.0) == 4
    assert drawn(store, Draw("b", 0, 0, 0.0, 10, DAY_MS)).missing == 10


def test_draws_of_many_threads_never_exceed_what_there_is(store: SharedStore, urls: dict[str, str]) -> None:
    """Four threads with connections of their own, one bucket."""
    from kaname.storage.shared.redis import RedisStore

    granted = list[int]()

    def take() -> None:
        mine = store
        if isinstance(store, RedisStore):
            mine = RedisStore(store._address, prefix=store._prefix, timeout_ms=5_000)
        for _ in range(50):
            granted.extend(draw(mine, 1, 3, most=100, key=key) for key in ("b", "c"))
        if mine is not store:
            mine.close()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 200


STEPS = st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 12), st.integers(-5, 15)), max_size=30)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.integers(1, 20))
def test_over_any_time_no_more_is_granted_than_the_rate_and_the_burst_allow(
    steps: list[tuple[int, int, int]], rate: int
) -> None:
    """The bound that everything else rests on, for the arithmetic that both kinds share."""
    clock = ManualClock()
    store, granted, passed_ms = MemoryStore(clock), 0, 0
    for ms, need, want in steps:
        clock.advance(ms=ms)
        passed_ms += ms
        want = max(need, want) if want >= 0 else -min(-want, granted)
        granted += drawn(store, Draw("b", need if want >= 0 else 0, want, rate, 10)).granted
        assert granted <= 10 + rate * passed_ms / 1000 + 1e-3


def test_what_is_no_allowance_counts_as_a_whole_one(store: SharedStore) -> None:
    """A foreign or damaged value under its key keeps nobody from drawing."""
    store.put([Value("b", b"\x00 damaged", 60_000)])
    assert draw(store, 1, 100) == 10
