"""A cheap student: how well a linear classifier tells groups of rows from their input."""

from __future__ import annotations

import numpy as np

# Relative to the mean squared length of the centred rows.
_STRENGTHS = np.logspace(-6, 2, 9)


def gain_over_guessing(
    seen: np.ndarray, group: np.ndarray, unseen: np.ndarray, wanted: np.ndarray
) -> float | None:
    """Returns how far a ridge classifier goes from guessing (0) to certainty (1).

    One-hot groups are regressed on the inputs; the strength of the ridge is the one with the least
    squared error when each seen row is left out in turn, in closed form (Hastie, Tibshirani and
    Friedman, The Elements of Statistical Learning, section 7.10). Guessing takes the most frequent
    group of the seen rows.

    Args:
        seen: Inputs, [n, features].
        group: Their groups, [n] integers.
        unseen: Other inputs, [m, features].
        wanted: Their groups, [m].

    Returns:
        (accuracy - that of guessing) / (1 - that of guessing), at most 1; None where guessing is
        always right, or there is nothing to learn.
    """
    names, place, counts = np.unique(group, return_inverse=True, return_counts=True)
    guess = float((wanted == names[counts.argmax()]).mean())
    mean = seen.mean(axis=0, dtype=np.float64)
    offset = seen - mean
    squares = np.square(offset).sum(axis=1).mean()
    if len(names) < 2 or guess == 1 or squares == 0:
        return None
    target = np.eye(len(names))[place]
    middle = target.mean(axis=0)
    vectors, values = _left(offset)
    along = vectors.T @ (target - middle)
    errors, solutions = [], []
    for ridge in _STRENGTHS * squares:
        kept = values / (values + ridge)
        fitted = middle + vectors @ (kept[:, None] * along)
        # The row's own part in its fit; the mean has one of 1 / n.
        own = np.square(vectors) @ kept + 1 / len(seen)
        errors.append(np.square((target - fitted) / (1 - own)[:, None]).sum())
        solutions.append(vectors @ (along / (values + ridge)[:, None]))
    best = offset.T @ solutions[int(np.argmin(errors))]
    scores = middle + (unseen - mean) @ best
    right = float((names[scores.argmax(axis=1)] == wanted).mean())
    return (right - guess) / (1 - guess)


def _left(offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the left singular vectors [n, rank] of a matrix and their squared values [rank]."""
    tall = len(offset) > offset.shape[1]
    values, vectors = np.linalg.eigh(offset.T @ offset if tall else offset @ offset.T)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    values, vectors = values[kept], vectors[:, kept]
    return (offset @ vectors / np.sqrt(values) if tall else vectors), values
