"""The oracle: the true fine labels as subclasses (LELP, section 4, the upper control)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Value
from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.projection.base import Projector
from lelp_jax.projection.engine.rows import EmbeddedRows


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Oracle:
    """The fine labels of each class.

    Attributes:
        position: Subclass of each fine label in each class, or -1, [classes, fine labels] int.
        log_prior: Logarithm of each subclass's share of its class, [classes, subclasses]; -inf
            beyond a class's own number.
        column_mask: Which pseudo-subclasses exist, [classes, subclasses] bool.
    """

    position: np.ndarray
    log_prior: np.ndarray
    column_mask: np.ndarray
    uses_embedding: ClassVar[bool] = False

    def scores(self, rows: EmbeddedRows) -> np.ndarray:
        """Computes scores, [rows, classes, subclasses].

        In a row's own class the score is 0 for its fine label and -inf for the others; in the other
        classes, and where the fine label is not known, it is the log prior.
        """
        assert rows.fine_label is not None
        scores = np.repeat(self.log_prior[None], len(rows.label), axis=0)
        known = (rows.label != UNLABELLED) & (rows.fine_label != UNLABELLED)
        # New rows may have fine labels that no fitted row had.
        known &= rows.fine_label < self.position.shape[1]
        own = np.where(known, self.position[rows.label, np.where(known, rows.fine_label, 0)], -1)
        row = np.flatnonzero(own >= 0)
        scores[row, rows.label[row]] = -np.inf
        scores[row, rows.label[row], own[row]] = 0.0
        return scores


def fit(
    rows: EmbeddedRows, output_weights: np.ndarray, hyperparameters: Mapping[str, Value], seed: int
) -> Oracle:
    """Renumbers the fine labels within each class and counts them.

    Args:
        rows: Labelled rows with fine labels.
        output_weights: [dims, classes]; only the number of classes is used.
        hyperparameters: None are used.
        seed: Not used.

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
    return Oracle(position, log_prior, np.arange(log_prior.shape[1]) < widths[:, None])


PROJECTOR = Projector(
    name="oracle",
    version=1,
    search_space={},
    fit=fit,
    projection=Oracle,
    needs_fine_labels=True,
)
