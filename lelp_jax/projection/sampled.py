"""Clusterings that cannot take all rows: they cluster a sample, and its centres score the rest.

These run in scikit-learn, on the host (LELP, arXiv 2409.20449, section 4, baselines).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np

from lelp_jax.core import search_space
from lelp_jax.core.search_space import Value
from lelp_jax.projection import centers
from lelp_jax.projection.base import Projector
from lelp_jax.projection.centers import Centers
from lelp_jax.projection.engine import moments, sample
from lelp_jax.projection.engine.rows import ROUNDING, EmbeddedRows, rescale

SEARCH_SPACE = {
    "num_subclasses": search_space.NUM_SUBCLASSES,
    "assignment": search_space.ASSIGNMENT,
    "sample_size": search_space.SAMPLE_SIZE,
    "membership": search_space.MEMBERSHIP,
    "fit_on": search_space.FIT_ON,
}
# Sampled rows of each class per subclass, at least.
_LEAST = 10
# Of k-means on a t-SNE map.
_RESTARTS = 4
_PERPLEXITY = 30.0

Cluster = Callable[[np.ndarray, int, int], np.ndarray]


def fit(
    cluster: Cluster,
    rows: EmbeddedRows,
    output_weights: np.ndarray,
    hyperparameters: Mapping[str, Value],
    seed: int,
) -> Centers:
    """Clusters a stratified sample of each class; all rows belong to the nearest centre.

    Args:
        cluster: `(points [rows, dims], clusters, seed) -> cluster of each row [rows]`.
        rows: Rows to draw from; `rows.label` is the class each is fitted in.
        output_weights: [dims, classes]; only the number of classes is used.
        hyperparameters: `num_subclasses`, `assignment` and `sample_size`, the rows drawn of all
            classes.
        seed: Seed of the draw and of the clustering.

    Raises:
        UserError: `num_subclasses` exceeds the distinct rows drawn of a class.
    """
    num_classes = output_weights.shape[1]
    count, size = int(hyperparameters["num_subclasses"]), int(hyperparameters["sample_size"])
    rows, unit = rescale(rows)
    mean = moments.means(rows, num_classes)
    drawn = sample.stratified(rows, num_classes, size, _LEAST * count, seed)
    points = [
        np.asarray(rows.embedding[own], np.float32) - mean[label] for label, own in enumerate(drawn)
    ]
    rounding = ROUNDING * np.linalg.norm(mean, axis=1)
    found = [
        sample.distinct(own, count, float(least))
        for own, least in zip(points, rounding, strict=True)
    ]
    centers.check_distinct(np.array(found), count)
    middle, radius = [], []
    for own in points:
        member = cluster(own, count, seed)
        centre = np.stack([own[member == number].mean(axis=0) for number in range(count)])
        distance = np.square(own[:, None] - centre).sum(axis=-1).min(axis=1)
        middle.append(centre)
        # As of k-means, at least rounding: clusters of one row each have none of their own.
        floor = np.finfo(np.float32).eps * np.square(own).sum(axis=1).mean()
        radius.append(np.sqrt(max(distance.mean(), floor)) or 1.0)
    return centers.around(
        unit * mean,
        unit * np.stack(middle),
        unit * np.array(radius),
        soft=hyperparameters["assignment"] == "soft",
    )


def _ward(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Merges points bottom-up by Ward's criterion."""
    from sklearn.cluster import AgglomerativeClustering

    del seed
    return AgglomerativeClustering(count, linkage="ward").fit_predict(points)


def _cluster_map(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Clusters a two-dimensional t-SNE map of the points by k-means."""
    from sklearn.cluster import KMeans
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # scikit-learn wants a perplexity below the number of rows.
    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    # One thread: the order in which threads add up their sums would change the last bits.
    with threadpool_limits(limits=1):
        positions = TSNE(perplexity=perplexity, init="random", random_state=seed).fit_transform(
            points
        )
        return KMeans(count, n_init=_RESTARTS, random_state=seed).fit_predict(positions)


def _projector(name: str, cluster: Cluster) -> Projector:
    return Projector(
        name=name,
        version=2,
        search_space=SEARCH_SPACE,
        fit=functools.partial(fit, cluster),
        projection=Centers,
    )


AGGLOMERATIVE = _projector("agglomerative", _ward)
TSNE_KMEANS = _projector("tsne_kmeans", _cluster_map)
