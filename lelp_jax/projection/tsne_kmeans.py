"""T-SNE of each class's embedding, then k-means (LELP, section 4, a baseline)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lelp_jax.core.hyperparameters import Value
from lelp_jax.projection import centers, sampled
from lelp_jax.projection.base import Projection, Projector, Rows

_RESTARTS = 4
_PERPLEXITY = 30.0


def fit(
    rows: Rows, output_weights: np.ndarray, values: Mapping[str, Value], seed: int
) -> Projection:
    """Clusters a two-dimensional map of a sample of each class; see `sampled.fit`."""
    return sampled.fit("tsne_kmeans", _cluster_map, rows, output_weights.shape[1], values, seed)


def _cluster_map(points: np.ndarray, count: int, seed: int) -> np.ndarray:
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


PROJECTOR = Projector(
    name="tsne_kmeans", version=1, settings=sampled.SETTINGS, fit=fit, apply=centers.apply
)
