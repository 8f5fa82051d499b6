"""A linear probe: a cheap stand-in for a student that has to predict pseudo-subclasses."""

from __future__ import annotations

import numpy as np

# Ridge strengths, relative to the mean squared length of the centred rows.
_STRENGTHS = np.logspace(-6, 2, 9)


def measure_gain_over_guessing(
    inputs: np.ndarray, groups: np.ndarray, test_inputs: np.ndarray, test_groups: np.ndarray
) -> float | None:
    """Computes how far a ridge classifier gets from guessing (0) to certainty (1).

    Regresses one-hot groups on the inputs. The ridge strength minimises the leave-one-out squared
    error, which ridge regression has in closed form (Hastie, Tibshirani and Friedman, The Elements
    of Statistical Learning, section 7.10). Guessing always answers the most frequent group.

    Args:
        inputs: Inputs to fit, [n, features].
        groups: Their groups, [n] integers.
        test_inputs: Inputs to predict, [m, features].
        test_groups: Their groups, [m].

    Returns:
        (accuracy - accuracy of guessing) / (1 - accuracy of guessing), at most 1; None if guessing
        is always right, or if groups or inputs do not vary.
    """
    names, member, counts = np.unique(groups, return_inverse=True, return_counts=True)
    guess = float((test_groups == names[counts.argmax()]).mean())
    mean = inputs.mean(axis=0, dtype=np.float64)
    offset = inputs - mean
    squares = np.square(offset).sum(axis=1).mean()
    if len(names) < 2 or guess == 1 or squares == 0:
        return None
    target = np.eye(len(names))[member]
    middle = target.mean(axis=0)
    # One decomposition serves all ridge strengths.
    vectors, values = _decompose(offset)
    along = vectors.T @ (target - middle)
    errors, solutions = [], []
    for ridge in _STRENGTHS * squares:
        kept = values / (values + ridge)
        fitted = middle + vectors @ (kept[:, None] * along)
        # Leverage: the weight of a row in its own fit, of which 1 / n is due to the mean. Dividing
        # a residual by 1 - leverage gives the residual of a fit without the row.
        leverage = np.square(vectors) @ kept + 1 / len(inputs)
        errors.append(np.square((target - fitted) / (1 - leverage)[:, None]).sum())
        solutions.append(vectors @ (along / (values + ridge)[:, None]))
    best = offset.T @ solutions[int(np.argmin(errors))]
    scores = middle + (test_inputs - mean) @ best
    right = float((names[scores.argmax(axis=1)] == test_groups).mean())
    return (right - guess) / (1 - guess)


def _decompose(offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes left singular vectors, [n, rank], and squared singular values, [rank].

    The eigendecomposition of the smaller product is faster than an SVD of the matrix, and precise
    enough here: directions lost to rounding are those that the ridge suppresses anyway.
    """
    tall = len(offset) > offset.shape[1]
    values, vectors = np.linalg.eigh(offset.T @ offset if tall else offset @ offset.T)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    values, vectors = values[kept], vectors[:, kept]
    return (offset @ vectors / np.sqrt(values) if tall else vectors), values
