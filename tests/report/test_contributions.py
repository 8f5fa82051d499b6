"""What each test row contributes to a metric."""

from collections.abc import Callable

import numpy as np
import pytest
import sklearn.metrics

from lelp_jax.core import metrics
from lelp_jax.report.results import contributions

ROWS = 60


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def weighted_ece(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    confidence = softmax(logits).max(axis=1)
    gap = weights * ((logits.argmax(axis=1) == labels) - confidence)
    bins = np.ceil(confidence * 15)
    return sum(abs(gap[bins == number].sum()) for number in range(16)) / weights.sum()


# The metrics of weighted rows, by other code.
WEIGHTED: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "accuracy": lambda x, y, w: sklearn.metrics.accuracy_score(y, x.argmax(1), sample_weight=w),
    "nll": lambda x, y, w: sklearn.metrics.log_loss(
        y, softmax(x), labels=range(x.shape[1]), sample_weight=w
    ),
    "brier": lambda x, y, w: np.average(
        np.square(softmax(x) - np.eye(x.shape[1])[y]).sum(axis=1), weights=w
    ),
    "ece": weighted_ece,
    "matthews": lambda x, y, w: sklearn.metrics.matthews_corrcoef(y, x.argmax(1), sample_weight=w),
    "roc_auc": lambda x, y, w: sklearn.metrics.roc_auc_score(y, x[:, 1] - x[:, 0], sample_weight=w),
    "pr_auc": lambda x, y, w: sklearn.metrics.average_precision_score(
        y, x[:, 1] - x[:, 0], sample_weight=w
    ),
}


def draw(classes: int, seed: int, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits with ties, and labels that they predict better than chance."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    labels[:classes] = np.arange(classes)
    logits = np.round(random.normal(size=(rows, classes)) * 1.5, 1)
    logits[np.arange(rows), labels] += 0.7
    return logits, labels


def test_every_metric_is_split() -> None:
    assert set(WEIGHTED) == set(metrics.METRICS)


@pytest.mark.parametrize("metric", metrics.METRICS)
@pytest.mark.parametrize("classes", [2, 4])
def test_contributions_are_derivatives_by_the_weights_of_rows(metric: str, classes: int) -> None:
    for seed in range(3):
        logits, labels = draw(classes, seed)
        shares = contributions.split(metric, logits, labels)
        value = metrics.METRICS[metric](logits, labels)
        if classes > 2 and metric in metrics.TWO_CLASSES:
            assert np.isnan(shares).all()
            continue
        assert shares.mean() == pytest.approx(value, rel=1e-12)
        step = 1e-4
        for row in range(0, ROWS, 7):
            change = step * (np.arange(ROWS) == row)
            more = WEIGHTED[metric](logits, labels, 1 + change)
            less = WEIGHTED[metric](logits, labels, 1 - change)
            slope = ROWS * (more - less) / (2 * step)
            assert shares[row] - value == pytest.approx(slope, abs=2e-5)


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_their_spread_is_that_of_the_metric_over_samples_of_rows(metric: str) -> None:
    """Samples of 400 rows vary as the contributions of one sample say."""
    values, errors = [], []
    for seed in range(120):
        logits, labels = draw(2, seed, rows=400)
        values.append(metrics.METRICS[metric](logits, labels))
        errors.append(contributions.split(metric, logits, labels).std() / 20)
    # The deviation of 120 draws is off by 6 % (one standard error); |gap| in the calibration error
    # varies less than its derivative where gaps are small.
    allowed = 0.45 if metric == "ece" else 0.2
    assert np.mean(errors) == pytest.approx(np.std(values), rel=allowed)


def test_a_student_that_predicts_one_class_contributes_nothing_to_the_correlation() -> None:
    logits = np.tile([1.0, 0.0], (5, 1))
    assert (contributions.split("matthews", logits, np.array([0, 1, 0, 1, 1])) == 0).all()
