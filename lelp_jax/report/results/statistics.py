"""Means, paired differences, their intervals and tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr

_RESAMPLES = 10_000
# With fewer teachers the spread between them says nothing about other teachers.
LEAST_TEACHERS = 3


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
    if len(names) < LEAST_TEACHERS:
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


def p_value(differences: np.ndarray, teacher: np.ndarray) -> float:
    """Returns the two-sided p-value of a mean difference of zero.

    The paired t-test. With three or more teachers these are the clusters: students of one teacher
    are not independent, so the residuals are summed within teachers before they are squared
    (Cameron and Miller, A Practitioner's Guide to Cluster-Robust Inference, 2015, section II; the
    factor is G / (G - 1), the degrees of freedom are G - 1 for G teachers). One replicate per
    teacher makes the two tests the same.

    Args:
        differences: One difference per replicate, [replicates].
        teacher: Each replicate's teacher, [replicates].

    Returns:
        The p-value; 1 where the mean is 0, NaN for one replicate and where the differences do not
        vary, so that nothing tells chance from effect.
    """
    count = len(differences)
    if count < 2 or not np.isfinite(differences).all():
        return float("nan")
    mean = differences.mean()
    # Sums of floats: what should be 0 may be off by a rounding.
    rounding = 1e-9 * np.abs(differences).max()
    if np.abs(mean) <= rounding:
        return 1.0
    names, place = np.unique(teacher, return_inverse=True)
    if len(names) < LEAST_TEACHERS:
        place = np.arange(count)
    sums = np.bincount(place, weights=differences - mean)
    clusters = len(sums)
    error = np.sqrt(clusters / (clusters - 1) * np.square(sums).sum()) / count
    if error <= rounding:
        return float("nan")
    return float(2 * stdtr(clusters - 1, -np.abs(mean) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for how many there are (Holm, 1979).

    Calling every method better or worse whose corrected p-value is below 0.05 makes one false claim
    or more with a chance of at most 5 %, however the p-values depend on each other (A Simple
    Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6).

    Args:
        p_values: Uncorrected ones; a NaN stays NaN and is not counted.

    Returns:
        Corrected p-values, in the same order.
    """
    values = np.asarray(p_values, np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    corrected = np.full(len(values), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected.tolist()
