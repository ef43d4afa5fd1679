"""How good predicted delays are: errors in minutes, and how well they rank the flights that come late."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LATE_MINUTES = 15.0
"""A flight is late when it arrives more than this many minutes after the timetable."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """Errors over `flights` flights; NaN where they do not exist (no flights, or only one class for the AUC)."""

    flights: int
    late_share: float
    rmse_minutes: float
    mae_minutes: float
    auc: float
    """Chance that a late flight got a higher prediction than one that was not late."""


def auc(positive: NDArray[np.bool_], score: Values) -> float:
    """Area under the ROC curve by ranks; ties count half. NaN unless both classes are there."""
    wins = int(positive.sum())
    losses = len(positive) - wins
    if wins == 0 or losses == 0:
        return float("nan")
    _, where, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[where]
    return float((ranks[positive].sum() - wins * (wins + 1) / 2) / (wins * losses))


def score(actual: Values, predicted: Values) -> Score:
    """Compare delays in minutes; flights without an actual delay (cancelled, diverted: NaN) do not count."""
    arrived = ~np.isnan(actual) & ~np.isnan(predicted)
    actual, predicted = actual[arrived], predicted[arrived]
    if len(actual) == 0:
        return Score(0, *[float("nan")] * 4)
    error = predicted - actual
    late = actual > LATE_MINUTES
    return Score(
        flights=len(actual),
        late_share=float(late.mean()),
        rmse_minutes=float(np.sqrt(np.mean(error**2))),
        mae_minutes=float(np.mean(np.abs(error))),
        auc=auc(late, predicted),
    )
