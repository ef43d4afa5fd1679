"""The token bucket against a model that is too simple to be wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaname.access.limiter import TokenBucket
from kaname.clock import ManualClock, SystemClock
from kaname.errors import TooLarge


class Model:
    """Tokens counted exactly: `rate` flow in per second, at most `burst` are kept."""

    def __init__(self, rate: int, burst: int) -> None:
        self.rate = rate
        self.burst = Fraction(burst)
        self.tokens = Fraction(burst)

    def pass_ms(self, ms: int) -> None:
        """Let time pass."""
        self.tokens = min(self.burst, self.tokens + Fraction(self.rate * ms, 1000))

    def take(self, rows: int) -> bool:
        """Take `rows` if there are as many."""
        if rows > self.tokens:
            return False
        self.tokens -= rows
        return True


STEPS = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 60)), max_size=60)


@settings(max_examples=300)
@given(st.integers(1, 50), st.integers(1, 60), STEPS)
def test_the_bucket_grants_what_the_model_grants(rate: int, burst: int, steps: list[tuple[int, int]]) -> None:
    """Over any sequence of waits and requests both agree, except where the model is within rounding (16 ns)."""
    clock = ManualClock()
    bucket, model = TokenBucket(rate, burst, clock), Model(rate, burst)
    for ms, rows in steps:
        clock.advance(ms=ms)
        model.pass_ms(ms)
        if rows > burst:
            with pytest.raises(TooLarge):
                bucket(rows)
            continue
        close = abs(model.tokens - rows) <= Fraction(rate * 60, 10**9)
        wait = bucket(rows)
        if close:
            # Rounding may decide either way; both must then have gone the same way.
            model.tokens = model.tokens - rows if wait == 0.0 else model.tokens
            continue
        assert (wait == 0.0) is model.take(rows)


@settings(max_examples=200)
@given(st.integers(1, 5000), st.integers(1, 200), st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_waiting_as_long_as_told_is_enough_and_needed(rate: int, burst: int, requests: list[int]) -> None:
    """The wait of a refusal is exact: after it the request is granted, shortly before it is not."""
    clock = ManualClock()
    bucket = TokenBucket(rate, burst, clock)
    for rows in (min(request, burst) for request in requests):
        wait_ms = bucket(rows) * 1000
        if wait_ms > 0.01:
            clock.advance(ms=wait_ms - 0.005)
            assert bucket(rows) > 0
            clock.advance(ms=0.006)
            assert bucket(rows) == 0.0


def test_a_request_above_the_burst_is_refused_for_good() -> None:
    """It costs nothing: the bucket is as full as before."""
    bucket = TokenBucket(10, None, ManualClock())
    assert bucket.burst == 10
    with pytest.raises(TooLarge) as caught:
        bucket(11)
    assert (caught.value.found, caught.value.expected) == ("11", "at most 10")
    assert bucket(10) == 0.0
    assert bucket(1) == pytest.approx(0.1)


@given(st.integers(1, 10**7), st.integers(1, 100_000), st.integers(0, 10**17))
def test_a_full_bucket_grants_its_burst(rate: int, burst: int, uptime_ns: int) -> None:
    """Rounding never refuses what is there, however long the machine has been up."""
    clock = ManualClock(monotonic_ns=uptime_ns)
    bucket = TokenBucket(rate, burst, clock)
    for _ in range(3):
        assert bucket(burst) == 0.0
        clock.advance(ms=burst / rate * 1000 + 0.001)


def test_slow_rates_have_a_burst_of_one() -> None:
    """Less than one row per second still lets rows through, one at a time."""
    clock = ManualClock()
    bucket = TokenBucket(0.5, None, clock)
    assert bucket(1) == 0.0
    assert bucket(1) == pytest.approx(2.0)
    clock.advance(ms=2000)
    assert bucket(1) == 0.0


def test_a_level_from_another_boot_does_not_lock_the_bucket() -> None:
    """Shared memory may hold a time that lies far in the future of this machine's clock: it counts as empty."""
    levels = [1e18]
    bucket = TokenBucket(10, 10, ManualClock(), levels=levels)
    assert bucket(1) == pytest.approx(0.1)
    assert levels[0] < 1e18


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (float("inf"), 1), (float("nan"), 1), (1, 0)])
def test_senseless_limits_are_refused(rate: float, burst: int) -> None:
    """A bucket that could never grant or never refuse is a mistake."""
    with pytest.raises(ValueError, match="must be"):
        TokenBucket(rate, burst, ManualClock())


@pytest.mark.serial
def test_a_grant_costs_little_more_than_looking_at_the_clock() -> None:
    """On the request path a limit must not be felt: within 6 times the least that any limit has to do, which is to
    read the clock and to write down a number, measured in the same minute."""
    clock = SystemClock()
    levels = [0.0]

    def least(rows: int) -> float:
        levels[0] = clock.monotonic_ns() + rows
        return 0.0

    def cost(call: Callable[[int], float]) -> float:
        times = []
        for _ in range(20):
            began = time.perf_counter()
            for _ in range(10_000):
                call(1)
            times.append(time.perf_counter() - began)
        return min(times)

    assert cost(TokenBucket(1e9, None, clock).take) < 6 * cost(least)
