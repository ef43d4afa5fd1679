"""The example's figures are the textbook's: compared with scikit-learn."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pandas")
metrics: Any = pytest.importorskip("sklearn.metrics")
scores: Any = importlib.import_module("scores")

minutes = st.integers(-60, 300).map(float)


@given(st.lists(st.tuples(minutes, minutes), min_size=2, max_size=60))
def test_scores_agree_with_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    """RMSE, MAE and AUC (ties included) equal scikit-learn's on any delays."""
    actual, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    found = scores.score(actual, predicted)
    assert found.rmse_minutes == pytest.approx(metrics.root_mean_squared_error(actual, predicted))
    assert found.mae_minutes == pytest.approx(metrics.mean_absolute_error(actual, predicted))
    late = actual > scores.LATE_MINUTES
    if late.all() or not late.any():
        assert np.isnan(found.auc)
    else:
        assert found.auc == pytest.approx(metrics.roc_auc_score(late, predicted))


def test_flights_that_never_arrived_or_got_no_answer_do_not_count() -> None:
    """Cancelled flights have no delay, refused requests no prediction: neither is an error of zero."""
    found = scores.score(np.array([30.0, np.nan, 0.0]), np.array([20.0, 5.0, np.nan]))
    assert (found.flights, found.mae_minutes) == (1, 10.0)


def test_no_flights_have_no_scores() -> None:
    """A carrier without a single arrival gives NaN, not a division by zero."""
    found = scores.score(np.array([np.nan]), np.array([1.0]))
    assert found.flights == 0
    assert np.isnan([found.rmse_minutes, found.mae_minutes, found.auc]).all()
