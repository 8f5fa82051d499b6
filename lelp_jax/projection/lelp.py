"""LELP: embedding linear projections (Loo et al., arXiv 2409.20449, section 3)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import search_space
from lelp_jax.core.search_space import Value
from lelp_jax.projection import linear
from lelp_jax.projection.base import Projector
from lelp_jax.projection.engine import pca
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.projection.linear import LinearProjection


def fit(
    rows: EmbeddedRows, output_weights: np.ndarray, hyperparameters: Mapping[str, Value], seed: int
) -> LinearProjection:
    """Fits the projection.

    Per class, the top principal components of the embedding outside the range of the output
    weights are rotated at random, so that each direction has the same variance in expectation. The
    rotation is `V polar(V' G)` with G standard normal: Haar-distributed, and dependent on the
    subspace alone, not on eigenvector signs or the order of near-equal eigenvalues.

    Args:
        rows: Rows to fit; `rows.label` is the class each is fitted in.
        output_weights: [dims, classes].
        hyperparameters: `num_subclasses`, `null_space`, `rotate`, `center`, `standardize` and
            `solver`.
        seed: Seed of the rotations.

    Raises:
        UserError: `num_subclasses` exceeds the rank of a class's covariance.
    """
    found = subspaces(rows, output_weights, hyperparameters)
    if hyperparameters["rotate"]:
        basis = np.asarray(rotate(jnp.asarray(found.components), jax.random.key(seed)))
    else:
        # An eigenvector's sign is its solver's choice; the rows decide here.
        basis = found.components * pca.orientation(rows, found.mean, found.components)[:, None]
    return linear.along_directions(basis, found.mean, found.variance, hyperparameters)


def subspaces(
    rows: EmbeddedRows, output_weights: np.ndarray, hyperparameters: Mapping[str, Value]
) -> pca.ClassPCA:
    """Computes the top `num_subclasses` principal components of each class.

    Args:
        rows: Rows to fit; `rows.label` is the class each is fitted in.
        output_weights: [dims, classes].
        hyperparameters: `num_subclasses`, `null_space` and `solver`.

    Raises:
        UserError: `num_subclasses` exceeds the rank of a class's covariance.
    """
    count = int(hyperparameters["num_subclasses"])
    found = pca.fit(
        rows,
        output_weights,
        null_space=bool(hyperparameters["null_space"]),
        count=count,
        solver=str(hyperparameters["solver"]),
    )
    pca.check_rank(
        found, count, "null-space embedding" if hyperparameters["null_space"] else "embedding"
    )
    return found._replace(
        components=found.components[:, :, :count], variance=found.variance[:, :count]
    )


@jax.jit
def rotate(directions: jax.Array, key: jax.Array) -> jax.Array:
    """Draws a random orthonormal basis of each class's subspace.

    Args:
        directions: Orthonormal columns, [classes, dims, subclasses].
        key: Random key.
    """
    with jax.default_matmul_precision("highest"):
        noise = jax.random.normal(key, directions.shape, directions.dtype)
        left, _, right = jnp.linalg.svd(jnp.swapaxes(directions, 1, 2) @ noise, full_matrices=False)
        return directions @ (left @ right)


PROJECTOR = Projector(
    name="lelp",
    version=3,
    search_space={
        "num_subclasses": search_space.NUM_SUBCLASSES,
        "null_space": search_space.NULL_SPACE,
        "rotate": search_space.ROTATE,
        "center": search_space.CENTER,
        "standardize": search_space.STANDARDIZE,
        "membership": search_space.MEMBERSHIP,
        "fit_on": search_space.FIT_ON,
        "solver": search_space.SOLVER,
    },
    fit=fit,
    projection=LinearProjection,
)
