"""Agglomerative clustering of each class's embedding (LELP, section 4, a baseline)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lelp_jax.core.hyperparameters import Value
from lelp_jax.projection import centers, sampled
from lelp_jax.projection.base import Projection, Projector, Rows


def fit(
    rows: Rows, output_weights: np.ndarray, values: Mapping[str, Value], seed: int
) -> Projection:
    """Merges a sample of each class bottom-up by Ward's criterion; see `sampled.fit`."""
    return sampled.fit("agglomerative", _ward, rows, output_weights.shape[1], values, seed)


def _ward(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn.cluster import AgglomerativeClustering

    del seed
    return AgglomerativeClustering(count, linkage="ward").fit_predict(points)


PROJECTOR = Projector(
    name="agglomerative", version=1, settings=sampled.SETTINGS, fit=fit, apply=centers.apply
)
