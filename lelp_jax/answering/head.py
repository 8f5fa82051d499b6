"""An output layer for a model without one: a logistic regression on its embeddings."""

from __future__ import annotations

import logging

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score

from lelp_jax.core.errors import UserError

_LOG = logging.getLogger(__name__)
# Inverse strengths of the ridge penalty on standardised embeddings.
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_FOLDS = 5
_MOST_STEPS = 1000


def check(labels: np.ndarray, num_classes: int) -> None:
    """Checks that every class has rows enough for a fit.

    Args:
        labels: Class of each row, [rows]; -1 where unknown.
        num_classes: Number of classes.

    Raises:
        UserError: A class has a single labelled row, or none.
    """
    counts = np.bincount(labels[labels >= 0], minlength=num_classes)
    if counts.min() < 2:
        raise UserError(
            f"--fit_head: class {int(counts.argmin())} has {counts.min()} labelled rows in the "
            "first file, and at least 2 are needed; add some"
        )


def fit(
    embeddings: np.ndarray, labels: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fits a multinomial logistic regression.

    The strength of its penalty minimises the cross-validated negative log likelihood. Embeddings
    are standardised for the fit; weights and bias are those of the embeddings as they are.

    Args:
        embeddings: [rows, dims].
        labels: Class of each row, [rows]; -1 where unknown. `check` allows them.
        num_classes: Number of classes.

    Returns:
        Weights [dims, classes] and bias [classes], float32.
    """
    rows = labels >= 0
    counts = np.bincount(labels[rows], minlength=num_classes)
    values = np.asarray(embeddings[rows], np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    deviation[deviation == 0] = 1
    values = (values - mean) / deviation
    folds = StratifiedKFold(min(_FOLDS, int(counts.min())), shuffle=True, random_state=0)
    losses = [
        -cross_val_score(
            _make(strength), values, labels[rows], cv=folds, scoring="neg_log_loss"
        ).mean()
        for strength in _STRENGTHS
    ]
    strength = _STRENGTHS[int(np.argmin(losses))]
    fitted = _make(strength).fit(values, labels[rows])
    # With two classes there is one row of coefficients: that of the second.
    weights = np.atleast_2d(fitted.coef_).T / deviation[:, None]
    bias = fitted.intercept_ - mean @ weights
    if weights.shape[1] == 1:
        weights = np.concatenate([np.zeros_like(weights), weights], axis=1)
        bias = np.concatenate([np.zeros(1), bias])
    _LOG.info(
        "a logistic regression (C=%g) was fitted to %s labelled rows of the first file; these must "
        "be training rows only",
        strength,
        f"{int(rows.sum()):,}",
    )
    return weights.astype(np.float32), bias.astype(np.float32)


def _make(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=_MOST_STEPS)
