"""K-means of each class's embedding (LELP, section 4, a baseline)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lelp_jax.core import search_space
from lelp_jax.core.search_space import Value
from lelp_jax.projection import centers
from lelp_jax.projection.base import Projector
from lelp_jax.projection.centers import Centers
from lelp_jax.projection.engine import clusters, moments
from lelp_jax.projection.engine.rows import EmbeddedRows


def fit(
    rows: EmbeddedRows, output_weights: np.ndarray, hyperparameters: Mapping[str, Value], seed: int
) -> Centers:
    """Fits k-means per class on the embedding as it is.

    Args:
        rows: Rows to fit; `rows.label` is the class each is fitted in.
        output_weights: [dims, classes]; only the number of classes is used.
        hyperparameters: `num_subclasses` and `assignment`.
        seed: Seed of the centres' start.

    Raises:
        UserError: `num_subclasses` exceeds the distinct rows of a class.
    """
    count, num_classes = int(hyperparameters["num_subclasses"]), output_weights.shape[1]
    # From the class's mean: float32 keeps few digits of distances far from the origin.
    mean = moments.means(rows, num_classes)
    found = clusters.fit(rows, mean, clusters.Options(count, seed))
    centers.check_distinct(found.distinct, count)
    return centers.around(
        mean,
        found.centers,
        found.radius,
        soft=hyperparameters["assignment"] == "soft",
    )


PROJECTOR = Projector(
    name="kmeans",
    version=2,
    search_space={
        "num_subclasses": search_space.NUM_SUBCLASSES,
        "assignment": search_space.ASSIGNMENT,
        "membership": search_space.MEMBERSHIP,
        "fit_on": search_space.FIT_ON,
    },
    fit=fit,
    projection=Centers,
)
