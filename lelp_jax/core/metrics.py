"""Metrics of class logits against labels, by name; all in NumPy float64.

They are computed on the host, since ranks and float64 sums are slow or missing on accelerators, and
so that a result does not depend on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lelp_jax.core.errors import make_unknown_name_error

# Number of calibration bins used by Guo et al. (2017).
_BINS = 15


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Computes log probabilities over the last axis, float64."""
    wide = logits.astype(np.float64)
    wide = wide - wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Computes the share of rows whose largest logit is that of the label."""
    return float((logits.argmax(axis=-1) == labels).mean())


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    """Computes the mean negative log-likelihood of the labels, in nats."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def brier(logits: np.ndarray, labels: np.ndarray) -> float:
    """Computes the Brier score: the mean squared distance of probabilities to one-hot labels."""
    probability = np.exp(log_softmax(logits))
    return float(np.square(probability - np.eye(logits.shape[-1])[labels]).sum(axis=-1).mean())


def ece(logits: np.ndarray, labels: np.ndarray) -> float:
    """Computes the expected calibration error over 15 equal-width bins (Guo et al., 2017)."""
    bins, gaps = bin_calibration_gaps(logits, labels)
    return float(np.abs(np.bincount(bins, weights=gaps)).sum() / len(labels))


def bin_calibration_gaps(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes each row's bin of confidence, [rows], and correctness minus confidence, [rows]."""
    confidence = np.exp(log_softmax(logits)).max(axis=-1)
    correct = logits.argmax(axis=-1) == labels
    # A confidence of exactly 1 belongs to the last bin.
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return bins, correct - confidence


def matthews(logits: np.ndarray, labels: np.ndarray) -> float:
    """Computes the Matthews correlation of predictions and labels; 0 where it is not defined."""
    classes = logits.shape[-1]
    table = np.bincount(labels * classes + logits.argmax(axis=-1), minlength=classes**2).reshape(
        classes, classes
    )
    true, predicted, total = table.sum(axis=1), table.sum(axis=0), float(table.sum())
    covariance = np.trace(table) * total - true @ predicted
    spread = (total**2 - (predicted**2).sum()) * (total**2 - (true**2).sum())
    return float(covariance / np.sqrt(float(spread))) if spread else 0.0


def roc_auc(logits: np.ndarray, labels: np.ndarray) -> float:
    """Computes the area under the ROC curve of class 1; NaN unless there are two classes."""
    if logits.shape[-1] != 2 or len(np.unique(labels)) != 2:
        return float("nan")
    score = logits[:, 1].astype(np.float64) - logits[:, 0]
    _, group, counts = np.unique(score, return_inverse=True, return_counts=True)
    # Mean rank of each group of ties, counted from 1. The rank sum of the positive rows, less its
    # minimum, is the number of pairs in which the positive row scores higher (Mann-Whitney U).
    rank = (np.cumsum(counts) - (counts - 1) / 2)[group]
    positive = labels == 1
    wins = rank[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(wins / (positive.sum() * (~positive).sum()))


def pr_auc(logits: np.ndarray, labels: np.ndarray) -> float:
    """Computes the average precision of class 1; NaN unless there are two classes."""
    if logits.shape[-1] != 2 or not (labels == 1).any():
        return float("nan")
    score = logits[:, 1].astype(np.float64) - logits[:, 0]
    # Rows with equal scores share a threshold, so their order does not matter.
    values, group = np.unique(-score, return_inverse=True)
    true_positives = np.cumsum(np.bincount(group, weights=labels == 1, minlength=len(values)))
    predicted = np.cumsum(np.bincount(group, minlength=len(values)))
    recall_gained = np.diff(true_positives, prepend=0) / true_positives[-1]
    return float((recall_gained * true_positives / predicted).sum())


METRICS: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy,
    "nll": nll,
    "brier": brier,
    "ece": ece,
    "matthews": matthews,
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
}
# Metrics that are NaN unless there are two classes.
TWO_CLASSES = frozenset({"roc_auc", "pr_auc"})
_SMALLER_IS_BETTER = frozenset({"nll", "brier", "ece"})


def find_direction(name: str) -> int:
    """Returns 1 for a metric to maximise and -1 for one to minimise.

    Raises:
        UserError: The name is unknown.
    """
    if name not in METRICS:
        raise make_unknown_name_error("metric config.report.selection_metric", name, METRICS)
    return -1 if name in _SMALLER_IS_BETTER else 1


def evaluate(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Computes every metric for one set of rows.

    Args:
        logits: Class logits, [rows, classes].
        labels: [rows], each in 0..classes-1.
    """
    return {name: metric(logits, labels) for name, metric in METRICS.items()}


def measure_agreement(logits: np.ndarray, teacher_logits: np.ndarray | None) -> dict[str, float]:
    """Computes how closely a student follows its teacher (Stanton et al., arXiv 2106.05945).

    Args:
        logits: The student's class logits, [rows, classes].
        teacher_logits: The teacher's class logits, [rows, classes]; None gives NaN.

    Returns:
        `agreement`, the share of rows with the same prediction, and `teacher_kl`, the mean
        KL divergence of the student's probabilities from the teacher's, in nats.
    """
    if teacher_logits is None:
        return {"agreement": float("nan"), "teacher_kl": float("nan")}
    student, teacher = log_softmax(logits), log_softmax(teacher_logits)
    return {
        "agreement": float((student.argmax(axis=-1) == teacher.argmax(axis=-1)).mean()),
        "teacher_kl": float((np.exp(teacher) * (teacher - student)).sum(axis=-1).mean()),
    }
