"""LELP: embedding linear projections (Loo et al., arXiv 2409.20449, section 3)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import settings
from lelp_jax.projection import pca
from lelp_jax.projection.base import Array, Projection, Projector, Rows
from lelp_jax.settings import Value


def fit(
    rows: Rows, output_weights: np.ndarray, values: Mapping[str, Value], seed: int
) -> Projection:
    """Fits the projection.

    Per class, the top principal components of the embedding outside the range of the output
    weights are rotated at random, so that each direction has the same variance in expectation. The
    rotation is `V polar(V' G)` with G standard normal: Haar-distributed, and dependent on the
    subspace alone, not on eigenvector signs or the order of near-equal eigenvalues.

    Args:
        rows: Rows to fit; `rows.label` is the class each is fitted in.
        output_weights: [dims, classes].
        values: `num_subclasses`, `null_space`, `rotate`, `center`, `standardize` and `solver`.
        seed: Seed of the rotations.

    Returns:
        Arrays `basis` [classes, dims, subclasses], `mean` [classes, dims], `scale` [classes] and
        `explained_variance` [classes, subclasses].

    Raises:
        UserError: `num_subclasses` exceeds the rank of a class's covariance.
    """
    count = int(values["num_subclasses"])
    components = pca.fit(
        rows,
        output_weights,
        null_space=bool(values["null_space"]),
        count=count,
        solver=str(values["solver"]),
    )
    pca.check_rank(
        components, count, "null-space embedding" if values["null_space"] else "embedding"
    )
    variance = components.variance[:, :count]
    top = components.components[:, :, :count]
    if values["rotate"]:
        basis = np.asarray(rotate(jnp.asarray(top), jax.random.key(seed)))
    else:
        basis = top * pca.orientation(rows, components.mean, top)[:, None]
    mean = components.mean if values["center"] else np.zeros_like(components.mean)
    scale = np.sqrt(variance.mean(axis=1)) if values["standardize"] else np.ones(len(variance))
    return Projection(
        kind="lelp",
        arrays={
            "basis": basis,
            "mean": mean,
            "scale": scale.astype(np.float32),
            "explained_variance": variance,
        },
        column_mask=np.ones((len(variance), count), bool),
    )


@jax.jit
def rotate(directions: jax.Array, key: jax.Array) -> jax.Array:
    """Returns a random orthonormal basis of each class's subspace.

    Args:
        directions: Orthonormal columns, [classes, dims, subclasses].
        key: Random key.
    """
    with jax.default_matmul_precision("highest"):
        noise = jax.random.normal(key, directions.shape, directions.dtype)
        left, _, right = jnp.linalg.svd(jnp.swapaxes(directions, 1, 2) @ noise, full_matrices=False)
        return directions @ (left @ right)


def apply(projection: Projection, rows: Rows) -> Array:
    """Returns scores `u' (h - mean) / scale`, [rows, classes, subclasses] (design of eq. 5).

    The basis is orthogonal to the output weights when it was fitted in the null space, so the
    embedding need not be projected again.
    """
    arrays = projection.arrays
    return _apply(jnp.asarray(rows.embedding), arrays["basis"], arrays["mean"], arrays["scale"])


@jax.jit
def _apply(embedding: jax.Array, basis: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("highest"):
        # From the middle of the means: the products of a large common mean would round away the
        # difference that is wanted.
        middle = mean.mean(axis=0)
        offset = jnp.einsum("cd,cds->cs", mean - middle, basis)
        return (jnp.einsum("nd,cds->ncs", embedding - middle, basis) - offset) / scale[:, None]


PROJECTOR = Projector(
    name="lelp",
    version=2,
    settings={
        "num_subclasses": settings.NUM_SUBCLASSES,
        "null_space": settings.NULL_SPACE,
        "rotate": settings.ROTATE,
        "center": settings.CENTER,
        "standardize": settings.STANDARDIZE,
        "membership": settings.MEMBERSHIP,
        "fit_on": settings.FIT_ON,
        "solver": settings.SOLVER,
    },
    fit=fit,
    apply=apply,
)
