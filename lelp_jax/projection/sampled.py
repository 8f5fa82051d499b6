"""Clusterings that cannot take all rows: they cluster a sample, and its centres score the rest.

These run in scikit-learn, on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lelp_jax.core import hyperparameters as settings
from lelp_jax.core.hyperparameters import Value
from lelp_jax.projection import centers
from lelp_jax.projection.base import Projection, Rows
from lelp_jax.projection.engine import moments, sample

SETTINGS = {
    "num_subclasses": settings.NUM_SUBCLASSES,
    "assignment": settings.ASSIGNMENT,
    "sample_size": settings.SAMPLE_SIZE,
    "membership": settings.MEMBERSHIP,
    "fit_on": settings.FIT_ON,
}
# Sampled rows of each class per subclass, at least.
_LEAST = 10

Cluster = Callable[[np.ndarray, int, int], np.ndarray]


def fit(
    kind: str,
    cluster: Cluster,
    rows: Rows,
    num_classes: int,
    values: Mapping[str, Value],
    seed: int,
) -> Projection:
    """Clusters a stratified sample of each class; all rows belong to the nearest centre.

    Args:
        kind: Name of the projector.
        cluster: `(points [rows, dims], clusters, seed) -> cluster of each row [rows]`.
        rows: Rows to draw from; `rows.label` is the class each is fitted in.
        num_classes: Number of classes.
        values: `num_subclasses`, `assignment` and `sample_size`, the rows drawn of all classes.
        seed: Seed of the draw and of the clustering.

    Returns:
        Arrays `mean` [classes, dims], `centers` [classes, subclasses, dims] from the mean, and
        `spread` [classes], of the sampled rows.

    Raises:
        UserError: `num_subclasses` exceeds the distinct rows drawn of a class.
    """
    count, size = int(values["num_subclasses"]), int(values["sample_size"])
    mean = moments.means(rows, num_classes)
    drawn = sample.stratified(rows, num_classes, size, _LEAST * count, seed)
    points = [
        np.asarray(rows.embedding[own], np.float32) - mean[label] for label, own in enumerate(drawn)
    ]
    found = [sample.distinct(own, count) for own in points]
    centers.check_distinct(np.array(found), count)
    middle, spread = [], []
    for own in points:
        member = cluster(own, count, seed)
        centre = np.stack([own[member == number].mean(axis=0) for number in range(count)])
        distance = np.square(own[:, None] - centre).sum(axis=-1).min(axis=1)
        middle.append(centre)
        spread.append(distance.mean())
    return centers.projection(
        kind,
        mean=mean,
        centers=np.stack(middle),
        spread=np.array(spread),
        soft=values["assignment"] == "soft",
    )
