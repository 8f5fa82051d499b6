"""A random split of every class: the control that has the wide head and no information."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lelp_jax.core import search_space, seeds
from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Value
from lelp_jax.projection.base import Array, Projection, Projector
from lelp_jax.projection.engine.rows import EmbeddedRows


def fit(
    rows: EmbeddedRows, output_weights: np.ndarray, hyperparameters: Mapping[str, Value], seed: int
) -> Projection:
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
    return Projection("random_split", {"seed": np.array(seed)}, np.ones(shape, bool))


def apply(projection: Projection, rows: EmbeddedRows) -> Array:
    """Returns 0 for subclass `hash(seed, class, row index) mod S`, -inf for the others."""
    num_classes, count = projection.column_mask.shape
    counter = np.asarray(rows.index)[:, None] * num_classes + np.arange(num_classes)
    words = seeds.hash_words(int(projection.arrays["seed"]), counter)
    chosen = words % np.uint64(count)
    return np.where(
        chosen[:, :, None] == np.arange(count, dtype=np.uint64), np.float32(0), np.float32(-np.inf)
    )


PROJECTOR = Projector(
    name="random_split",
    version=1,
    search_space={"num_subclasses": search_space.NUM_SUBCLASSES.trying(5)},
    fit=fit,
    apply=apply,
    uses_embedding=False,
)
