"""Means, paired differences and their intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_RESAMPLES = 10_000
# With fewer teachers a resample of teachers says nothing about other teachers.
_LEAST_TEACHERS = 3


class Interval(NamedTuple):
    """A mean with its uncertainty.

    Attributes:
        mean: Mean over replicates.
        std: Standard deviation over replicates; NaN for one replicate.
        low: Lower end of the interval; NaN for one replicate.
        high: Upper end.
    """

    mean: float
    std: float
    low: float
    high: float


def interval(values: np.ndarray, teacher: np.ndarray, confidence: float) -> Interval:
    """Returns mean and percentile bootstrap interval (Efron and Tibshirani, 1993, section 13).

    Replicates are resampled; with three or more teachers these are resampled first and replicates
    within them, since students of one teacher are not independent.

    Args:
        values: One value per replicate, [replicates].
        teacher: Each replicate's teacher, [replicates].
        confidence: Coverage, in (0, 1).
    """
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"), float("nan"))
    random = np.random.default_rng(0)
    names = np.unique(teacher)
    if len(names) < _LEAST_TEACHERS:
        drawn = random.integers(0, len(values), (_RESAMPLES, len(values)))
        means = values[drawn].mean(axis=1)
    else:
        groups = [values[teacher == name] for name in names]
        picked = random.integers(0, len(groups), (_RESAMPLES, len(groups)))
        total, count = np.zeros(_RESAMPLES), np.zeros(_RESAMPLES)
        for place in range(len(groups)):
            for number, group in enumerate(groups):
                rows = np.flatnonzero(picked[:, place] == number)
                drawn = random.integers(0, len(group), (len(rows), len(group)))
                total[rows] += group[drawn].sum(axis=1)
                count[rows] += len(group)
        means = total / count
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(mean, float(values.std(ddof=1)), float(low), float(high))
