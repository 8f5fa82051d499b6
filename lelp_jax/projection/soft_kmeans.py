"""Soft k-means: a mixture of equal spheres in the class's leading principal coordinates."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import settings
from lelp_jax.errors import UserError
from lelp_jax.projection import pca
from lelp_jax.projection.base import Array, Projection, Projector, Rows
from lelp_jax.settings import Value

_RESTARTS = 4


def fit(
    rows: Rows, output_weights: np.ndarray, values: Mapping[str, Value], seed: int
) -> Projection:
    """Fits k-means per class on the first principal coordinates of the embedding.

    Args:
        rows: Rows to fit; `rows.label` is the class each is fitted in.
        output_weights: [dims, classes].
        values: `num_subclasses`, `num_components` (coordinates used; a class whose rank is lower
            uses as many as its rank) and `null_space`.
        seed: Seed of the centres' start.

    Returns:
        Arrays `basis` [classes, dims, components], `mean` [classes, dims], `centers`
        [classes, subclasses, components] and `spread` [classes], the mean squared distance of a
        class's rows to their nearest centre.

    Raises:
        UserError: `num_subclasses` exceeds the distinct rows of a class.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    count = int(values["num_subclasses"])
    components = pca.fit(rows, output_weights, bool(values["null_space"]))
    width = min(int(values["num_components"]), components.variance.shape[1])
    used = np.arange(width) < components.rank[:, None]
    basis = components.components[:, :, :width] * used[:, None, :]
    centers, spread = [], []
    for index in range(output_weights.shape[1]):
        member = np.asarray(rows.embedding)[rows.label == index]
        offset = member - components.mean[index]
        coordinates = offset @ basis[index]
        distinct = _distinct(coordinates, count, float(np.linalg.norm(offset, axis=1).max()))
        if distinct < count:
            raise UserError(
                f"num_subclasses {count} exceeds the {distinct} distinct rows of class {index}; "
                f"take num_subclasses of at most {distinct}"
            )
        # One thread: the order in which threads add up their sums would change the last bits.
        with threadpool_limits(limits=1):
            clusters = KMeans(count, n_init=_RESTARTS, random_state=seed).fit(coordinates)
        centers.append(clusters.cluster_centers_)
        floor = np.finfo(np.float32).eps * np.square(coordinates).sum(axis=1).mean()
        spread.append(max(clusters.inertia_ / len(coordinates), floor, np.finfo(np.float32).tiny))
    return Projection(
        kind="soft_kmeans",
        arrays={
            "basis": basis,
            "mean": components.mean,
            "centers": np.stack(centers).astype(np.float32),
            "spread": np.array(spread, np.float32),
        },
        column_mask=np.ones((len(centers), count), bool),
    )


def _distinct(coordinates: np.ndarray, most: int, largest: float) -> int:
    """Returns how many rows differ by more than rounding, at most `most`.

    Equal rows may differ in their last bits: a matrix product need not treat all rows alike. Each
    row counted is the one farthest from those before it.

    Args:
        coordinates: Products of the rows with orthonormal columns, [rows, components].
        most: Where to stop counting.
        largest: Largest norm of a row before the product.
    """
    rounding = max(coordinates.shape[1], 10) * np.finfo(np.float32).eps * largest
    nearest = np.linalg.norm(coordinates - coordinates[0], axis=1)
    for found in range(1, most):
        farthest = nearest.argmax()
        if nearest[farthest] <= rounding:
            return found
        distance = np.linalg.norm(coordinates - coordinates[farthest], axis=1)
        nearest = np.minimum(nearest, distance)
    return most


def apply(projection: Projection, rows: Rows) -> Array:
    """Returns scores `-distance^2 / (2 spread)`, [rows, classes, subclasses]."""
    arrays = projection.arrays
    return _apply(
        jnp.asarray(rows.embedding),
        arrays["basis"],
        arrays["mean"],
        arrays["centers"],
        arrays["spread"],
    )


@jax.jit
def _apply(
    embedding: jax.Array, basis: jax.Array, mean: jax.Array, centers: jax.Array, spread: jax.Array
) -> jax.Array:
    with jax.default_matmul_precision("highest"):

        def one_class(basis: jax.Array, mean: jax.Array, centers: jax.Array) -> jax.Array:
            coordinates = (embedding - mean) @ basis
            return jnp.square(coordinates[:, None] - centers).sum(axis=-1)

        distance = jax.vmap(one_class, out_axes=1)(basis, mean, centers)
        return -distance / (2 * spread[:, None])


PROJECTOR = Projector(
    name="soft_kmeans",
    version=1,
    settings={
        "num_subclasses": settings.NUM_SUBCLASSES,
        "num_components": settings.NUM_COMPONENTS,
        "null_space": settings.NULL_SPACE,
        "membership": settings.MEMBERSHIP,
        "fit_on": settings.FIT_ON,
    },
    fit=fit,
    apply=apply,
)
