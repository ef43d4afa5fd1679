"""The arithmetic of the benchmark, on numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats import dollars_per_million, percentile, ratios, spread

times = st.floats(0.001, 1e6)


def test_a_spread_is_the_median_between_the_extremes() -> None:
    """One bad round moves the range, not the middle."""
    found = spread([12.0, 10.0, 99.0])
    assert (found.median, found.low, found.high) == (12.0, 10.0, 99.0)
    assert f"{found:.0f}" == "12 (10–99)"
    assert f"{spread([1.01, 0.99]):.0f}" == "1"


def test_nothing_measured_is_an_error() -> None:
    """No table shows a figure that nobody measured."""
    with pytest.raises(ValueError, match="no measurements"):
        spread([])
    with pytest.raises(ValueError, match="no measurements"):
        percentile([], 99)


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is twice as slow in the second round does not change a ratio."""
    assert ratios([10.0, 20.0], [5.0, 10.0]).median == 2.0


@given(st.lists(times, min_size=1), st.floats(0.1, 100.0))
def test_percentiles_are_nearest_rank(values: list[float], share: float) -> None:
    """At least the share is at or below it, and it is one of the values (numpy's inverted CDF)."""
    found = percentile(values, share)
    assert found in values
    assert np.mean([value <= found for value in values]) >= share / 100 - 1e-9


def test_cost_of_a_million_predictions() -> None:
    """20 µs each: 20 core-seconds, 5 s of a four-core machine at $0.192 an hour."""
    assert dollars_per_million(20.0) == pytest.approx(5 * 0.192 / 3600)
