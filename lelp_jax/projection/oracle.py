"""The oracle: the true fine labels as subclasses (LELP, section 4, the upper control)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Value
from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.projection.base import Array, Projection, Projector
from lelp_jax.projection.engine.rows import EmbeddedRows


def fit(
    rows: EmbeddedRows, output_weights: np.ndarray, hyperparameters: Mapping[str, Value], seed: int
) -> Projection:
    """Renumbers the fine labels within each class and counts them.

    Args:
        rows: Labelled rows with fine labels.
        output_weights: [dims, classes]; only the number of classes is used.
        hyperparameters: None are used.
        seed: Not used.

    Returns:
        Arrays `position` [classes, fine labels], the subclass of each fine label in each class or
        -1, and `log_prior` [classes, subclasses], -inf beyond a class's own number.

    Raises:
        UserError: A class has no row with a fine label.
    """
    assert rows.fine_label is not None
    num_classes = output_weights.shape[1]
    known = (rows.label != UNLABELLED) & (rows.fine_label != UNLABELLED)
    label, fine = rows.label[known], rows.fine_label[known]
    counts = np.zeros((num_classes, int(fine.max(initial=0)) + 1))
    np.add.at(counts, (label, fine), 1)
    present = counts > 0
    position = np.where(present, np.cumsum(present, axis=1) - 1, -1)
    widths = present.sum(axis=1)
    if (widths == 0).any():
        raise UserError(f"oracle: no row of class {int(np.argmin(widths))} has a fine label")
    log_prior = np.full((num_classes, int(widths.max())), -np.inf, np.float32)
    for index in range(num_classes):
        share = counts[index, present[index]] / counts[index].sum()
        log_prior[index, : widths[index]] = np.log(share)
    return Projection(
        kind="oracle",
        arrays={"position": position, "log_prior": log_prior},
        column_mask=np.arange(log_prior.shape[1]) < widths[:, None],
    )


def apply(projection: Projection, rows: EmbeddedRows) -> Array:
    """Returns scores, [rows, classes, subclasses].

    In a row's own class the score is 0 for its fine label and -inf for the others; in the other
    classes, and where the fine label is not known, it is the log prior.
    """
    assert rows.fine_label is not None
    position, log_prior = projection.arrays["position"], projection.arrays["log_prior"]
    scores = np.repeat(log_prior[None], len(rows.label), axis=0)
    known = (rows.label != UNLABELLED) & (rows.fine_label != UNLABELLED)
    known &= rows.fine_label < position.shape[1]
    own = np.where(known, position[rows.label, np.where(known, rows.fine_label, 0)], -1)
    row = np.flatnonzero(own >= 0)
    scores[row, rows.label[row]] = -np.inf
    scores[row, rows.label[row], own[row]] = 0.0
    return scores


PROJECTOR = Projector(
    name="oracle",
    version=1,
    search_space={},
    fit=fit,
    apply=apply,
    needs_fine_labels=True,
    uses_embedding=False,
)
