"""A random split of every class: the control that has the wide head and no information."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import numpy as np

from lelp_jax.core import search_space, seeds
from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Value
from lelp_jax.projection.base import Projector
from lelp_jax.projection.engine.rows import EmbeddedRows


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RandomSplit:
    """A split that the seed and the row's position in the data set decide.

    Attributes:
        seed: Seed of the split, [] int.
        column_mask: Which pseudo-subclasses exist: all of them, [classes, subclasses] bool.
    """

    seed: np.ndarray
    column_mask: np.ndarray
    uses_embedding: ClassVar[bool] = False

    def scores(self, rows: EmbeddedRows) -> np.ndarray:
        """Computes 0 for subclass `hash(seed, class, row index) mod S`, -inf for the others."""
        num_classes, count = self.column_mask.shape
        counter = np.asarray(rows.index)[:, None] * num_classes + np.arange(num_classes)
        chosen = seeds.hash_words(int(self.seed), counter) % np.uint64(count)
        member = chosen[:, :, None] == np.arange(count, dtype=np.uint64)
        return np.where(member, np.float32(0), np.float32(-np.inf))


def fit(
    rows: EmbeddedRows, output_weights: np.ndarray, hyperparameters: Mapping[str, Value], seed: int
) -> RandomSplit:
    """Keeps the seed; there is nothing to fit.

    Args:
        rows: Only their number is used.
        output_weights: [dims, classes]; only the number of classes is used.
        hyperparameters: `num_subclasses`.
        seed: Seed of the split.

    Raises:
        UserError: There would be more subclasses than rows.
    """
    shape = (output_weights.shape[1], int(hyperparameters["num_subclasses"]))
    if shape[1] > len(rows.index):
        raise UserError(
            f"num_subclasses {shape[1]} exceeds the {len(rows.index)} training rows; "
            f"take num_subclasses of at most {len(rows.index)}"
        )
    return RandomSplit(np.array(seed), np.ones(shape, bool))


PROJECTOR = Projector(
    name="random_split",
    version=1,
    search_space={"num_subclasses": search_space.NUM_SUBCLASSES.replace_default(5)},
    fit=fit,
    projection=RandomSplit,
)
