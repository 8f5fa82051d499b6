"""Splits a test metric into what each test row contributes to it.

The interval of a metric must cover that the test rows are a sample, which needs the metric as a
mean over rows. Accuracy, negative log-likelihood and Brier score are means. The others are smooth
functions of the rows' weights w (all 1), so each row contributes

    metric + rows * d metric / d w_row,

the infinitesimal jackknife (Jaeckel, 1972; Efron, The Jackknife, the Bootstrap and Other Resampling
Plans, 1982, chapter 6); for the area under the ROC curve these are the components of DeLong et al.
(1988). A metric does not change if all weights are multiplied by one number, so the derivatives sum
to 0 and the mean over rows is the metric itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lelp_jax.core import metrics


def split(metric: str, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes what each test row contributes to a metric.

    Args:
        metric: Name of the metric.
        logits: Class logits, [rows, classes].
        labels: [rows], each in 0..classes-1.

    Returns:
        Contributions whose mean is the metric, [rows] float64; NaN where the metric is NaN.
    """
    if np.isnan(metrics.METRICS[metric](logits, labels)):
        return np.full(len(labels), np.nan)
    return _SPLITS[metric](logits, labels)


def _accuracy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return (logits.argmax(axis=-1) == labels).astype(np.float64)


def _nll(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -metrics.log_softmax(logits)[np.arange(len(labels)), labels]


def _brier(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    probability = np.exp(metrics.log_softmax(logits))
    return np.square(probability - np.eye(logits.shape[-1])[labels]).sum(axis=-1)


def _ece(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes each row's share of its bin's gap, with the sign of the bin.

    The derivative holds while no bin's gap changes its sign. Bins without a gap have the derivative
    0, so the variance is too small for a student that is calibrated perfectly.
    """
    bins, gaps = metrics.bin_calibration_gaps(logits, labels)
    return np.sign(np.bincount(bins, weights=gaps))[bins] * gaps


def _matthews(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes the derivative by the cell of the confusion matrix that a row is in.

    A student that predicts one class for all rows has the correlation 0 by definition, and
    contributions of 0.
    """
    predictions = logits.argmax(axis=-1)
    classes, rows = logits.shape[-1], float(len(labels))
    true = np.bincount(labels, minlength=classes)
    predicted = np.bincount(predictions, minlength=classes)
    correct = labels == predictions
    covariance = correct.sum() * rows - true @ predicted
    spread = (rows**2 - predicted @ predicted) * (rows**2 - true @ true)
    if not spread:
        return np.zeros(len(labels))
    value = covariance / np.sqrt(spread)
    # Derivatives by the weight of a row, which counts in its true and its predicted class.
    of_covariance = rows * correct + correct.sum() - predicted[labels] - true[predictions]
    of_predicted = (rows - predicted[predictions]) / (rows**2 - predicted @ predicted)
    of_true = (rows - true[labels]) / (rows**2 - true @ true)
    slope = of_covariance / np.sqrt(spread) - value * (of_predicted + of_true)
    return value + rows * slope


def _roc_auc(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes each row's share of rows of the other class that are ranked on the right side."""
    positive = labels == 1
    group, _ = _group_scores(logits)
    above = np.bincount(group, weights=positive)
    below = np.bincount(group, weights=~positive)
    # A tie counts half.
    beaten = (np.cumsum(below) - below / 2)[group] / below.sum()
    beaten_by = 1 - (np.cumsum(above) - above / 2)[group] / above.sum()
    share = np.where(positive, beaten, beaten_by)
    value = beaten[positive].mean()
    size = np.where(positive, above.sum(), below.sum())
    return value + len(labels) / size * (share - value)


def _pr_auc(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes the derivative of the average precision.

    A positive row adds the precision at its score, and raises the precision at all lower ones; any
    other row lowers the precision at its score and all lower ones.
    """
    positive = labels == 1
    rising, groups = _group_scores(logits)
    group = groups - 1 - rising
    found = np.bincount(group, weights=positive, minlength=groups)
    hits = np.cumsum(found)
    predicted = np.cumsum(np.bincount(group, minlength=groups))
    precision, total = hits / predicted, hits[-1]
    value = found @ precision / total
    lower = np.cumsum((found / predicted)[::-1])[::-1][group]
    lowered = np.cumsum((found * precision / predicted)[::-1])[::-1][group]
    slope = positive * (precision[group] - value + lower) - lowered
    return value + len(labels) / total * slope


def _group_scores(logits: np.ndarray) -> tuple[np.ndarray, int]:
    """Ranks the distinct scores of class 1 from the lowest; returns each row's and their number."""
    score = logits[:, 1].astype(np.float64) - logits[:, 0]
    distinct, group = np.unique(score, return_inverse=True)
    return group, len(distinct)


_SPLITS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "nll": _nll,
    "brier": _brier,
    "ece": _ece,
    "matthews": _matthews,
    "roc_auc": _roc_auc,
    "pr_auc": _pr_auc,
}
