"""Compares a teacher's predictions with the labels: rows in another order would go unnoticed."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from lelp_jax.data.dataset import UNLABELLED, Dataset
from lelp_jax.teachers.imported import Imported

_LOG = logging.getLogger(__name__)
# Three standard deviations above chance, fewer than one in 700 teachers with shuffled rows escape
# the warning.
_DEVIATIONS = 3.0


@dataclasses.dataclass(frozen=True)
class _Agreement:
    """How often predictions are right.

    Attributes:
        rows: Number of rows.
        right: Share of rows on which they are right.
        chance: The expected share for the same predictions in random order.
    """

    rows: int
    right: float
    chance: float

    @property
    def is_chance(self) -> bool:
        """Whether rows in random order might be right as often."""
        return self.right <= self.chance + _DEVIATIONS * self._deviation(self.chance)

    def is_below(self, share: float) -> bool:
        """Checks whether a teacher that is right on a share of all rows would do better."""
        return self.right < share - _DEVIATIONS * self._deviation(share)

    def _deviation(self, share: float) -> float:
        return float(np.sqrt(share * (1 - share) / self.rows))


def check(arrays: Imported, positions: np.ndarray, dataset: Dataset) -> None:
    """Logs how often a teacher is right, and warns where it is no better than chance.

    A file may be in the order of the data in one split and not in another, such as where its
    validation rows came from a loader that shuffles. What is right on validation and test rows is
    told only where it is no better than chance while it is better on training rows: that is what
    the report is for.

    Args:
        arrays: The teacher.
        positions: Position in its file of each row of the data, -1 where it is missing.
        dataset: The data.
    """
    train = _compare(arrays, positions, dataset, dataset.labelled_train)
    if train is None:
        return
    where = arrays.bundle.location
    advice = "check that rows and classes are in the order of the data"
    if train.is_chance:
        _LOG.warning(
            "%s: right on %.1f %% of the labelled training rows, no better than chance (%.1f %%); "
            "%s",
            where,
            100 * train.right,
            100 * train.chance,
            advice,
        )
        return
    _LOG.info("%s: right on %.1f %% of the labelled training rows", where, 100 * train.right)
    for name, rows in (("validation", dataset.validation), ("test", dataset.test)):
        found = _compare(arrays, positions, dataset, rows)
        if found is not None and found.is_chance and found.is_below(train.right):
            _LOG.warning(
                "%s: right on %.1f %% of the %s rows, no better than chance (%.1f %%), but on "
                "%.1f %% of the labelled training rows; %s",
                where,
                100 * found.right,
                name,
                100 * found.chance,
                100 * train.right,
                advice,
            )


def _compare(
    arrays: Imported, positions: np.ndarray, dataset: Dataset, rows: np.ndarray
) -> _Agreement | None:
    """Compares predictions and labels on the rows that have both; None if none has."""
    rows = rows[(positions[rows] >= 0) & (dataset.labels[rows] != UNLABELLED)]
    if not len(rows):
        return None
    label, predicted = dataset.labels[rows], arrays.logits[positions[rows]].argmax(axis=1)
    of_label, of_predicted = (
        np.bincount(values, minlength=dataset.num_classes) / len(rows)
        for values in (label, predicted)
    )
    return _Agreement(len(rows), float((predicted == label).mean()), float(of_label @ of_predicted))
