"""Weighted distillation for teachers that err (Iliopoulos et al., arXiv 2210.06711).

Where the teacher is wrong with probability p, and the student's loss at its wrong answers is
`distortion` times that at the truth, the loss at the teacher's answer is on average
`1 + p (distortion - 1)` times the loss at the truth. Divided by that factor, it is the loss at the
truth on average:

    w(x) = 1 / (1 + p(x) (distortion(x) - 1))

Both are estimated on validation rows, among the nearest neighbours of a row in the plane of the
teacher's and the student's margins: p is the share of errors, the distortion the mean loss at wrong
answers over the mean loss at the truth of the same rows. (The mean of the quotients, which the
paper's definition suggests, is decided by the few rows of whose truth the student is nearly
certain.) So a first student is trained without weights: the selected one
of the plain method and the same replicate. The weight is that of the whole row, as class weights
are, the label's loss included.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from lelp_jax.methods.base import Method
from lelp_jax.methods.slam import find_margin

# Part of the fingerprint of weighted students: raise it with whatever changes their weights.
VERSION = 1
# A student that is certain of the truth would make any other answer infinitely worse.
_LEAST_LOSS = 1e-3
_LEAST_WEIGHT, _LARGEST_WEIGHT = 0.05, 5.0
_PART = 16384


class Answers(NamedTuple):
    """What teacher and first student answer to rows.

    Attributes:
        teacher: Class logits, [rows, classes].
        student: Likewise.
    """

    teacher: np.ndarray
    student: np.ndarray

    @property
    def margins(self) -> np.ndarray:
        """The margins of both, [rows, 2] in [0, 1]."""
        parts = [np.asarray(find_margin(jnp.asarray(logits))) for logits in self]
        return np.stack(parts, axis=1).astype(np.float64)


def compute_weight(wrong: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """Computes `1 / (1 + p (distortion - 1))`, clipped to [0.05, 5].

    Args:
        wrong: p, the probability that the teacher is wrong, in [0, 1].
        distortion: Loss at its wrong answers over the loss at the truth, positive.
    """
    # A distortion of 0 where the teacher is always wrong gives a divisor of 0.
    divisor = np.maximum(1 + wrong * (distortion - 1), 1 / _LARGEST_WEIGHT)
    return np.maximum(1 / divisor, _LEAST_WEIGHT)


def measure_losses(student: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Measures the student's cross-entropy with a class of each row, at least 0.001, [rows].

    Args:
        student: Class logits, [rows, classes].
        label: The classes, [rows].
    """
    logits = student.astype(np.float64)
    loss = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(label)), label]
    return np.maximum(loss, _LEAST_LOSS)


def count_neighbours(rows: int) -> int:
    """Counts the neighbours of a row among the validation rows: `20 sqrt(rows)`, at most half.

    All of them, as the formula wants below 400 rows, would give every row the same weight.
    """
    return max(1, min(round(20 * rows**0.5), rows // 2))


def weigh(validation: Answers, label: np.ndarray, seen: Answers) -> np.ndarray:
    """Estimates the weight of rows, [rows] float32.

    Args:
        validation: The answers to the validation rows.
        label: Their classes, [validation rows].
        seen: The answers to the rows to weigh.
    """
    from sklearn.neighbors import NearestNeighbors

    answer = validation.teacher.argmax(axis=1)
    wrong = answer != label
    taught, true = (
        np.where(wrong, measure_losses(validation.student, each), 0.0) for each in (answer, label)
    )
    neighbours = NearestNeighbors(n_neighbors=count_neighbours(len(label)))
    neighbours.fit(validation.margins)
    margins, weights = seen.margins, []
    # In parts: the neighbours of all rows may not fit into memory.
    for start in range(0, len(margins), _PART):
        near = neighbours.kneighbors(margins[start : start + _PART], return_distance=False)
        errors = wrong[near].sum(axis=1)
        # Without an error nearby nothing is known of the distortion, and p is 0.
        at_answer, at_truth = taught[near].sum(axis=1), true[near].sum(axis=1)
        distortion = np.where(errors > 0, at_answer / np.where(errors > 0, at_truth, 1.0), 1.0)
        weights.append(compute_weight(errors / near.shape[1], distortion))
    return np.concatenate(weights).astype(np.float32)


def correct(method: Method) -> Method:
    """Builds the method whose students weigh rows by what a first student of another one tells.

    Args:
        method: A method that matches class probabilities.
    """
    return dataclasses.replace(
        method,
        name=f"{method.name}_weighted",
        reference=f"Iliopoulos et al., Weighted Distillation with Unlabeled Examples, "
        f"arXiv 2210.06711, 2022; {method.reference}",
        first=method,
        corrects=method.name,
    )
