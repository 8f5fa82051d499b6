"""Metrics against scikit-learn and by hand."""

import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.core import metrics
from lelp_jax.core.errors import UserError

SEEDS = st.integers(0, 2**31 - 1)


def batch(seed: int, classes: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32 logits and labels in which every class occurs."""
    random = np.random.default_rng(seed)
    count = int(random.integers(2 * classes, 60))
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, count - classes)])
    logits = random.normal(size=(count, classes)) * random.choice([0.1, 1, 30])
    logits += 2 * random.random() * np.eye(classes)[labels]
    if ties:
        logits = np.round(logits)
    return logits.astype(np.float32), random.permutation(labels)


def probabilities(logits: np.ndarray) -> np.ndarray:
    return np.exp(metrics.log_softmax(logits))


@given(seed=SEEDS, classes=st.integers(2, 6))
def test_accuracy_nll_brier_and_matthews_match_scikit_learn(seed, classes):
    logits, labels = batch(seed, classes)
    predicted, probability = logits.argmax(axis=1), probabilities(logits)
    value = metrics.evaluate(logits, labels)
    assert value["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its own rounding of probabilities.
        loss = sklearn.metrics.log_loss(labels, np.maximum(probability, 1e-300))
    # scikit-learn clips probabilities; rows beyond that are compared to the definition.
    if probability[np.arange(len(labels)), labels].min() > 1e-15:
        assert value["nll"] == pytest.approx(loss, rel=1e-6)
    direct = -metrics.log_softmax(logits)[np.arange(len(labels)), labels]
    assert value["nll"] == pytest.approx(direct.mean())
    brier = sklearn.metrics.brier_score_loss(
        labels, probability, scale_by_half=False, labels=np.arange(classes)
    )
    assert value["brier"] == pytest.approx(brier)
    matthews = sklearn.metrics.matthews_corrcoef(labels, predicted)
    assert value["matthews"] == pytest.approx(matthews, abs=1e-12)


@given(seed=SEEDS, ties=st.booleans())
def test_areas_match_scikit_learn(seed, ties):
    logits, labels = batch(seed, 2, ties)
    score = logits[:, 1].astype(np.float64) - logits[:, 0]
    assert metrics.roc_auc(logits, labels) == pytest.approx(
        sklearn.metrics.roc_auc_score(labels, score)
    )
    assert metrics.pr_auc(logits, labels) == pytest.approx(
        sklearn.metrics.average_precision_score(labels, score)
    )


def test_areas_of_equal_scores():
    labels = np.array([0, 1, 1, 1, 0])
    equal = np.zeros((5, 2), np.float32)
    assert metrics.roc_auc(equal, labels) == 0.5
    assert metrics.pr_auc(equal, labels) == pytest.approx(0.6)
    perfect = np.eye(2, dtype=np.float32)[labels]
    assert metrics.roc_auc(perfect, labels) == 1
    assert metrics.pr_auc(perfect, labels) == 1
    assert metrics.roc_auc(-perfect, labels) == 0


def test_areas_are_not_defined_for_one_class_or_three():
    logits = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    assert np.isnan(metrics.roc_auc(logits, np.zeros(6, int)))
    assert np.isnan(metrics.roc_auc(logits, np.ones(6, int)))
    assert np.isnan(metrics.pr_auc(logits, np.zeros(6, int)))
    wide = np.zeros((6, 3), np.float32)
    assert np.isnan(metrics.roc_auc(wide, np.arange(6) % 3))
    assert np.isnan(metrics.pr_auc(wide, np.arange(6) % 3))


def test_matthews_is_zero_for_a_constant_prediction():
    logits = np.zeros((10, 3), np.float32)
    logits[:, 1] = 1
    assert metrics.matthews(logits, np.arange(10) % 3) == 0


def test_matthews_of_many_rows_does_not_overflow():
    labels = np.arange(400_000) % 2
    logits = np.eye(2, dtype=np.float32)[labels]
    assert metrics.matthews(logits, labels) == pytest.approx(1)
    assert metrics.matthews(-logits, labels) == pytest.approx(-1)


def test_calibration_error_by_hand():
    even = np.zeros((10, 2), np.float32)
    assert metrics.ece(even, np.arange(10) % 2) == pytest.approx(0)
    # Confidence 0.8 five times, right thrice; confidence 0.6 five times, always right.
    probability = np.repeat([[0.8, 0.2], [0.6, 0.4]], 5, axis=0)
    labels = np.array([0, 0, 0, 1, 1, 0, 0, 0, 0, 0])
    assert metrics.ece(np.log(probability), labels) == pytest.approx(0.5 * 0.2 + 0.5 * 0.4)
    sure = np.array([[1e4, 0.0]] * 4, np.float32)
    assert metrics.ece(sure, np.zeros(4, int)) == pytest.approx(0)
    assert metrics.ece(sure, np.ones(4, int)) == pytest.approx(1)


@given(seed=SEEDS, classes=st.integers(2, 5))
def test_calibration_error_matches_a_loop_over_bins(seed, classes):
    logits, labels = batch(seed, classes)
    probability = probabilities(logits)
    confidence, correct = probability.max(axis=1), logits.argmax(axis=1) == labels
    wanted = 0.0
    for low in range(15):
        inside = (confidence >= low / 15) & (confidence < (low + 1) / 15 if low < 14 else True)
        if inside.any():
            wanted += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    value = metrics.ece(logits, labels)
    assert value == pytest.approx(wanted, abs=1e-9)
    assert 0 <= value <= 1


def test_extreme_logits_give_finite_losses():
    logits = np.array([[3e38, -3e38], [-1e4, 1e4]], np.float32)
    assert metrics.nll(logits, np.array([0, 1])) == 0
    assert metrics.nll(logits[1:], np.array([0])) == pytest.approx(2e4)
    assert metrics.brier(logits, np.array([1, 0])) == pytest.approx(2)


@given(seed=SEEDS, classes=st.integers(2, 6))
def test_agreement_with_a_copy_is_perfect(seed, classes):
    logits, _ = batch(seed, classes)
    shifted = logits.astype(np.float64) + np.arange(len(logits))[:, None]
    value = metrics.measure_agreement(shifted, logits)
    assert value["agreement"] == 1
    assert value["teacher_kl"] == pytest.approx(0, abs=1e-9)


@given(seed=SEEDS)
def test_agreement_and_divergence_match_their_definitions(seed):
    random = np.random.default_rng(seed)
    student, teacher = random.normal(size=(2, 30, 3))
    value = metrics.measure_agreement(student, teacher)
    same = student.argmax(axis=1) == teacher.argmax(axis=1)
    assert value["agreement"] == pytest.approx(same.mean())
    p, q = probabilities(teacher), probabilities(student)
    assert value["teacher_kl"] == pytest.approx((p * np.log(p / q)).sum(axis=1).mean())
    assert value["teacher_kl"] > 0


def test_directions():
    assert {name: metrics.find_direction(name) for name in metrics.METRICS} == {
        "accuracy": 1,
        "nll": -1,
        "brier": -1,
        "ece": -1,
        "matthews": 1,
        "roc_auc": 1,
        "pr_auc": 1,
    }
    with pytest.raises(UserError, match="did you mean 'accuracy'"):
        metrics.find_direction("acuracy")
