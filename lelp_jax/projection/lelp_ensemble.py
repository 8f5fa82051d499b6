"""Several rotations of LELP's subspaces, one head of pseudo-subclasses each (this project)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import search_space, seeds
from lelp_jax.core.search_space import Value
from lelp_jax.projection import lelp, linear
from lelp_jax.projection.base import Projector
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.projection.linear import LinearProjection


def fit(
    rows: EmbeddedRows, output_weights: np.ndarray, hyperparameters: Mapping[str, Value], seed: int
) -> LinearProjection:
    """Fits LELP's subspaces once and rotates them several times.

    A single rotation makes some directions more telling than others by chance; over several of
    them, drawn independently, this evens out.

    Args:
        rows: Rows to fit; `rows.label` is the class each is fitted in.
        output_weights: [dims, classes].
        hyperparameters: `num_rotations`, `num_subclasses`, `null_space`, `center`, `standardize`,
            `solver`.
        seed: Seed of the rotations. The first head is that of LELP with the same seed, and more
            rotations leave the ones before as they are.

    Raises:
        UserError: `num_subclasses` exceeds the rank of a class's covariance.
    """
    found = lelp.subspaces(rows, output_weights, hyperparameters)
    directions = jnp.asarray(found.components)
    others = range(1, int(hyperparameters["num_rotations"]))
    of_head = [seed, *(seeds.derive(seed, "rotation", head) for head in others)]
    basis = np.stack([lelp.rotate(directions, jax.random.key(own)) for own in of_head])
    return linear.along_directions(basis, found.mean, found.variance, hyperparameters)


PROJECTOR = Projector(
    name="lelp_ensemble",
    version=2,
    search_space={
        "num_rotations": search_space.NUM_ROTATIONS,
        **{
            name: setting
            for name, setting in lelp.PROJECTOR.search_space.items()
            if name != "rotate"
        },
    },
    fit=fit,
    projection=LinearProjection,
)
