"""Soft k-means: a mixture of equal spheres in the class's leading principal coordinates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lelp_jax.core import search_space
from lelp_jax.core.search_space import Value
from lelp_jax.projection import centers
from lelp_jax.projection.base import Projector
from lelp_jax.projection.centers import Centers
from lelp_jax.projection.engine import clusters, pca
from lelp_jax.projection.engine.rows import EmbeddedRows


def fit(
    rows: EmbeddedRows, output_weights: np.ndarray, hyperparameters: Mapping[str, Value], seed: int
) -> Centers:
    """Fits k-means per class on the first principal coordinates of the embedding.

    Args:
        rows: Rows to fit; `rows.label` is the class each is fitted in.
        output_weights: [dims, classes].
        hyperparameters: `num_subclasses`, `num_components` (coordinates used; a class whose rank is
            lower uses as many as its rank), `null_space` and `solver`.
        seed: Seed of the centres' start.

    Raises:
        UserError: A class does not vary, or `num_subclasses` exceeds its distinct rows.
    """
    count = int(hyperparameters["num_subclasses"])
    components = pca.fit(
        rows,
        output_weights,
        null_space=bool(hyperparameters["null_space"]),
        count=int(hyperparameters["num_components"]),
        solver=str(hyperparameters["solver"]),
    )
    # One direction is enough to tell clusters apart.
    where = "null-space embedding" if hyperparameters["null_space"] else "embedding"
    pca.check_rank(components, count, where, needed=min(count - 1, 1))
    width = min(int(hyperparameters["num_components"]), components.variance.shape[1])
    # Zeros in place of the components beyond a class's rank keep one shape for all classes.
    used = np.arange(width) < components.rank[:, None]
    basis = components.components[:, :, :width] * used[:, None, :]
    found = clusters.fit(rows, components.mean, clusters.Options(count, seed), basis)
    centers.check_distinct(found.distinct, count)
    return centers.around(
        components.mean,
        found.centers,
        found.radius,
        soft=True,
        basis=basis,
    )


PROJECTOR = Projector(
    name="soft_kmeans",
    version=3,
    search_space={
        "num_subclasses": search_space.NUM_SUBCLASSES,
        "num_components": search_space.NUM_COMPONENTS,
        "null_space": search_space.NULL_SPACE,
        "membership": search_space.MEMBERSHIP,
        "fit_on": search_space.FIT_ON,
        "solver": search_space.SOLVER,
    },
    fit=fit,
    projection=Centers,
)
