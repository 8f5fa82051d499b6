from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from lelp_jax.core.errors import UserError
from lelp_jax.methods.base import label_cross_entropy
from lelp_jax.train import class_weights


def dataset(labels: np.ndarray, classes: int) -> SimpleNamespace:
    train = np.arange(len(labels))
    return SimpleNamespace(
        labels=labels, num_classes=classes, labelled_train=train[labels[train] >= 0]
    )


LABELS = np.array([0] * 50 + [1] * 7 + [2] * 20 + [-1] * 30)


def test_no_weights_weigh_all_alike() -> None:
    assert class_weights.weigh_classes(dataset(LABELS, 3), ()).tolist() == [1, 1, 1]


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    known = LABELS[LABELS >= 0]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=known)
    weights = class_weights.weigh_classes(dataset(LABELS, 3), ("balanced",))
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    np.testing.assert_allclose(
        class_weights.weigh_rows(weights, known),
        compute_sample_weight("balanced", known),
        rtol=1e-6,
    )


def test_balanced_weights_give_every_class_the_same_total() -> None:
    weights = class_weights.weigh_classes(dataset(LABELS, 3), ("balanced",))
    totals = np.bincount(LABELS[LABELS >= 0]) * weights
    np.testing.assert_allclose(totals, totals.mean(), rtol=1e-6)


def test_explicit_weights_and_rows_without_a_label() -> None:
    weights = class_weights.weigh_classes(dataset(LABELS, 3), (0.5, 2.0, 3.0))
    rows = class_weights.weigh_rows(weights, np.array([2, -1, 0, 1]))
    assert rows.tolist() == [3.0, 1.0, 0.5, 2.0]
    assert rows.dtype == np.float32


def test_wrong_number_of_weights_is_refused() -> None:
    with pytest.raises(UserError, match=r"2 values, \(1\.0, 2\.0\), but the data have 3 classes"):
        class_weights.weigh_classes(dataset(LABELS, 3), (1.0, 2.0))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_a_batch_is_the_weighted_mean_of_pytorch(smoothing: float) -> None:
    from torch import log_softmax, tensor
    from torch.nn import functional

    random = np.random.default_rng(0)
    logits = random.normal(size=(40, 3)).astype(np.float32)
    labels, weights = random.integers(0, 3, 40), np.array([0.5, 2.0, 3.0], np.float32)
    own = class_weights.weigh_rows(weights, labels)
    losses = np.asarray(label_cross_entropy(logits, labels, smoothing))
    arrays = tensor(logits), tensor(labels)
    plain = functional.cross_entropy(*arrays, reduction="none", label_smoothing=smoothing)
    np.testing.assert_allclose(losses, plain, rtol=1e-5)
    mean = (own * losses).sum() / own.sum()
    given = tensor(weights)
    wanted = {
        kind: functional.cross_entropy(
            *arrays, weight=given, reduction=kind, label_smoothing=smoothing
        ).numpy()
        for kind in ("none", "mean")
    }
    if not smoothing:
        np.testing.assert_allclose(own * losses, wanted["none"], rtol=1e-5)
        np.testing.assert_allclose(mean, wanted["mean"], rtol=1e-5)
        return
    # PyTorch weighs the smoothed share of each class by that class, not by the row's.
    log_probability = log_softmax(arrays[0], dim=1).numpy()
    difference = smoothing * ((own[:, None] - weights) * log_probability).mean(axis=1)
    np.testing.assert_allclose(own * losses + difference, wanted["none"], rtol=1e-4)
    np.testing.assert_allclose(mean + difference.sum() / own.sum(), wanted["mean"], rtol=1e-4)
