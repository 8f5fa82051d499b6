"""Metrics of class logits against labels, by name; all in float64 on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lelp_jax.core.errors import unknown_name

_BINS = 15


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Returns log probabilities over the last axis, float64."""
    wide = logits.astype(np.float64)
    wide = wide - wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of rows whose largest logit is the label's."""
    return float((logits.argmax(axis=-1) == labels).mean())


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean negative log-likelihood of the labels, in nats."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def brier(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean squared distance of the probabilities to the one-hot label."""
    probability = np.exp(log_softmax(logits))
    return float(np.square(probability - np.eye(logits.shape[-1])[labels]).sum(axis=-1).mean())


def ece(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the expected calibration error over 15 equal-width bins (Guo et al., 2017)."""
    confidence = np.exp(log_softmax(logits)).max(axis=-1)
    correct = logits.argmax(axis=-1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gap = np.bincount(bins, weights=correct - confidence, minlength=_BINS)
    return float(np.abs(gap).sum() / len(labels))


def matthews(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the Matthews correlation of predictions and labels; 0 where it is not defined."""
    classes = logits.shape[-1]
    table = np.bincount(labels * classes + logits.argmax(axis=-1), minlength=classes**2).reshape(
        classes, classes
    )
    true, predicted, total = table.sum(axis=1), table.sum(axis=0), float(table.sum())
    covariance = np.trace(table) * total - true @ predicted
    spread = (total**2 - (predicted**2).sum()) * (total**2 - (true**2).sum())
    return float(covariance / np.sqrt(float(spread))) if spread else 0.0


def roc_auc(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the area under the ROC curve of class 1; NaN unless there are two classes."""
    if logits.shape[-1] != 2 or len(np.unique(labels)) != 2:
        return float("nan")
    score = logits[:, 1].astype(np.float64) - logits[:, 0]
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    # Mean rank of each group of ties, counted from 1.
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positive = labels == 1
    wins = rank[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(wins / (positive.sum() * (~positive).sum()))


def pr_auc(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the average precision of class 1; NaN unless there are two classes."""
    if logits.shape[-1] != 2 or not (labels == 1).any():
        return float("nan")
    score = logits[:, 1].astype(np.float64) - logits[:, 0]
    values, place = np.unique(-score, return_inverse=True)
    found = np.cumsum(np.bincount(place, weights=labels == 1, minlength=len(values)))
    seen = np.cumsum(np.bincount(place, minlength=len(values)))
    recall_gained = np.diff(found, prepend=0) / found[-1]
    return float((recall_gained * found / seen).sum())


METRICS: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy,
    "nll": nll,
    "brier": brier,
    "ece": ece,
    "matthews": matthews,
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
}
# Not a number unless there are two classes.
TWO_CLASSES = frozenset({"roc_auc", "pr_auc"})
_SMALLER_IS_BETTER = frozenset({"nll", "brier", "ece"})


def direction(name: str) -> int:
    """Returns 1 for a metric to maximise and -1 for one to minimise.

    Raises:
        UserError: There is no metric of that name.
    """
    if name not in METRICS:
        raise unknown_name("metric config.report.selection_metric", name, METRICS)
    return -1 if name in _SMALLER_IS_BETTER else 1


def evaluate(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns every metric of one set of rows.

    Args:
        logits: Class logits, [rows, classes].
        labels: [rows], each in 0..classes-1.
    """
    return {name: metric(logits, labels) for name, metric in METRICS.items()}


def agreement(logits: np.ndarray, teacher_logits: np.ndarray | None) -> dict[str, float]:
    """Returns how closely a student follows its teacher (Stanton et al., arXiv 2106.05945).

    Args:
        logits: Student's class logits, [rows, classes].
        teacher_logits: [rows, classes]; None gives NaN.

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
