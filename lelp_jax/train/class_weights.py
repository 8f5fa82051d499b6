"""Weights of examples in the loss, for imbalanced classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data.dataset import Dataset


def weigh_classes(dataset: Dataset, wanted: tuple[Any, ...]) -> np.ndarray:
    """Computes the weight of each class, [classes] float32.

    Args:
        dataset: Its labelled training rows give the shares of the classes.
        wanted: Empty for equal weights, ("balanced",) for `rows / (classes * rows of the class)`,
            or one weight per class.

    Raises:
        UserError: The number of weights is not the number of classes.
    """
    classes = dataset.num_classes
    if not wanted:
        return np.ones(classes, np.float32)
    if wanted == ("balanced",):
        labels = dataset.labels[dataset.labelled_train]
        return (len(labels) / (classes * np.bincount(labels, minlength=classes))).astype(np.float32)
    if len(wanted) != classes:
        raise UserError(
            f"class_weights has {len(wanted)} values, {wanted}, but the data have {classes} classes"
        )
    return np.array(wanted, np.float32)


def weigh_rows(weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes the weight of each row, float32; 1 where the class is not known.

    The loss of a batch is the sum of its rows' weighted losses over the sum of their weights, as in
    PyTorch. As in scikit-learn and Keras the weight is that of the whole row: of all that it
    teaches, by its label and by the teacher, so that `alpha` means the same in every class. With
    label smoothing this differs from PyTorch's `cross_entropy`, which weighs the share of each
    class in the smoothed target by the weight of that class. Without smoothing they agree.

    Args:
        weights: [classes].
        labels: Class of each row, -1 where unknown.
    """
    # Of a row without a label, which the teacher alone teaches, nothing tells the class.
    return np.where(labels >= 0, weights[np.maximum(labels, 0)], np.float32(1))
