"""Intervals and tests for means over replicates, with teachers as clusters.

Students of one teacher inherit its errors, so their results are not independent. Treating them as
independent would make intervals too narrow and p-values too small; with enough teachers, both the
bootstrap and the test below therefore take teachers as the sampling unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr

_RESAMPLES = 10_000
# Two teachers or one give no usable estimate of the spread between teachers; replicates are then
# the sampling unit, and the results hold for these teachers only.
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


def bootstrap_interval(values: np.ndarray, teacher: np.ndarray, confidence: float) -> Interval:
    """Computes a mean and its percentile bootstrap interval.

    Resamples replicates. With three or more teachers, resamples teachers first and then replicates
    within each teacher drawn (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13).

    Args:
        values: One value per replicate, [replicates].
        teacher: Each replicate's teacher, [replicates].
        confidence: Coverage, in (0, 1).

    Returns:
        The mean with its interval; the ends are NaN for one replicate.
    """
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"), float("nan"))
    # A fixed seed: the same results give the same report, byte for byte.
    random = np.random.default_rng(0)
    names = np.unique(teacher)
    if len(names) < LEAST_TEACHERS:
        drawn = random.integers(0, len(values), (_RESAMPLES, len(values)))
        means = values[drawn].mean(axis=1)
    else:
        groups = [values[teacher == name] for name in names]
        # Loops over pairs of (draw, teacher) instead of over resamples: a few large vectorised
        # draws instead of 10,000 small ones. Teachers may have different numbers of replicates, so
        # each resample keeps its own count.
        picked = random.integers(0, len(groups), (_RESAMPLES, len(groups)))
        total, count = np.zeros(_RESAMPLES), np.zeros(_RESAMPLES)
        for draw in range(len(groups)):
            for number, group in enumerate(groups):
                rows = np.flatnonzero(picked[:, draw] == number)
                drawn = random.integers(0, len(group), (len(rows), len(group)))
                total[rows] += group[drawn].sum(axis=1)
                count[rows] += len(group)
        means = total / count
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(mean, float(values.std(ddof=1)), float(low), float(high))


def compute_p_value(differences: np.ndarray, teacher: np.ndarray) -> float:
    """Computes the two-sided p-value of the paired t-test that the mean difference is zero.

    With three or more teachers, the standard error is cluster-robust: residuals are summed within
    teachers before they are squared, so correlated students of one teacher do not count as
    independent evidence (Cameron and Miller, A Practitioner's Guide to Cluster-Robust Inference,
    2015, section II; factor G / (G - 1) and G - 1 degrees of freedom for G teachers). With one
    replicate per teacher this is the ordinary paired t-test.

    Args:
        differences: One difference per replicate, [replicates].
        teacher: Each replicate's teacher, [replicates].

    Returns:
        The p-value; 1 if the mean is 0; NaN for one replicate, for differences that are not
        finite, and for differences without variance, which allow no test.
    """
    count = len(differences)
    if count < 2 or not np.isfinite(differences).all():
        return float("nan")
    mean = differences.mean()
    # Sums of floats that cancel exactly on paper leave a rounding error; treat it as 0.
    rounding = 1e-9 * np.abs(differences).max()
    if np.abs(mean) <= rounding:
        return 1.0
    names, cluster = np.unique(teacher, return_inverse=True)
    if len(names) < LEAST_TEACHERS:
        # Each replicate is a cluster, which gives the ordinary t-test.
        cluster = np.arange(count)
    sums = np.bincount(cluster, weights=differences - mean)
    clusters = len(sums)
    error = np.sqrt(clusters / (clusters - 1) * np.square(sums).sum()) / count
    if error <= rounding:
        return float("nan")
    return float(2 * stdtr(clusters - 1, -np.abs(mean) / error))


def correct_p_values(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for multiple comparisons by Holm's step-down procedure.

    If every method with a corrected p-value below 0.05 is called different from the baseline, the
    probability of at least one false claim is at most 5 % (Holm, A Simple Sequentially Rejective
    Multiple Test Procedure, Scandinavian Journal of Statistics 6, 1979). This needs no assumption
    on how the p-values depend on each other, which matters here: all methods are compared to the
    same baseline students. It is never weaker than Bonferroni's correction.

    Args:
        p_values: Uncorrected p-values; NaN stays NaN and is not counted.

    Returns:
        Corrected p-values, in the same order.
    """
    values = np.asarray(p_values, np.float64)
    defined = np.flatnonzero(~np.isnan(values))
    order = defined[np.argsort(values[defined], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    corrected = np.full(len(values), np.nan)
    # A larger p-value may not end up below a smaller one, hence the running maximum.
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected.tolist()
