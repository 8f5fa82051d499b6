"""Ways to score pseudo-subclasses, by name."""

from __future__ import annotations

from collections.abc import Mapping

from lelp_jax.projection import (
    kmeans,
    lelp,
    lelp_ensemble,
    oracle,
    random_projection,
    random_split,
    sampled,
    soft_kmeans,
)
from lelp_jax.projection.base import Projector

PROJECTORS: Mapping[str, Projector] = {
    projector.name: projector
    for projector in (
        lelp.PROJECTOR,
        lelp_ensemble.PROJECTOR,
        random_projection.PROJECTOR,
        soft_kmeans.PROJECTOR,
        kmeans.PROJECTOR,
        sampled.AGGLOMERATIVE,
        sampled.TSNE_KMEANS,
        oracle.PROJECTOR,
        random_split.PROJECTOR,
    )
}
