"""Ways to score pseudo-subclasses, by name."""

from __future__ import annotations

from collections.abc import Mapping

from lelp_jax.projection import (
    agglomerative,
    kmeans,
    lelp,
    lelp_ensemble,
    oracle,
    random_projection,
    random_split,
    soft_kmeans,
    tsne_kmeans,
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
        agglomerative.PROJECTOR,
        tsne_kmeans.PROJECTOR,
        oracle.PROJECTOR,
        random_split.PROJECTOR,
    )
}
