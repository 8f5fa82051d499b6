"""Scores from the centres of clusters, however these were found.

n rows, d embedding dims, c classes, s subclasses, m coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.projection.base import Array, Projection
from lelp_jax.projection.engine.rows import EmbeddedRows


def projection(
    kind: str,
    *,
    mean: np.ndarray,
    centers: np.ndarray,
    spread: np.ndarray,
    soft: bool,
    basis: np.ndarray | None = None,
) -> Projection:
    """Returns the projection that scores rows by their distance to centres.

    Args:
        kind: Name of the projector.
        mean: Mean of each class, [c, d].
        centers: From the class's mean, [c, s, m], or [c, s, d] without a basis.
        spread: Mean squared distance of a class's rows to their nearest centre, [c].
        soft: Whether a row belongs to all of a class's clusters, the more the nearer, or to the
            nearest alone.
        basis: Orthonormal columns in which distances are measured, [c, d, m].
    """
    arrays: dict[str, np.ndarray] = {
        "mean": mean.astype(np.float32),
        "centers": centers.astype(np.float32),
        "spread": np.maximum(spread, np.finfo(np.float32).tiny).astype(np.float32),
        "soft": np.array(soft),
    }
    if basis is not None:
        arrays["basis"] = basis.astype(np.float32)
    return Projection(kind, arrays, np.ones(centers.shape[:2], bool))


def apply(fitted: Projection, rows: EmbeddedRows) -> Array:
    """Returns scores, [n, c, s].

    Soft: `-distance^2 / (2 spread)`. Hard: 0 for the nearest centre of each class, -inf for the
    others.
    """
    return _scores(jnp.asarray(rows.embedding), dict(fitted.arrays))


@jax.jit
def _scores(embedding: jax.Array, arrays: Mapping[str, jax.Array]) -> jax.Array:
    distance = squared_distances(embedding, arrays["mean"], arrays["centers"], arrays.get("basis"))
    nearest = jax.nn.one_hot(distance.argmin(axis=-1), distance.shape[-1], dtype=bool)
    return jnp.where(
        arrays["soft"],
        -distance / (2 * arrays["spread"][:, None]),
        jnp.where(nearest, 0.0, -jnp.inf),
    )


def squared_distances(
    embedding: jax.Array, mean: jax.Array, centers: jax.Array, basis: jax.Array | None
) -> jax.Array:
    """Returns the squared distance of rows to every centre of every class, [n, c, s].

    Args:
        embedding: [n, d].
        mean: [c, d].
        centers: From the mean, [c, s, m], or [c, s, d] without a basis.
        basis: [c, d, m], or None.
    """
    with jax.default_matmul_precision("highest"):
        # From the middle of the means: a large common mean would round differences away.
        middle = mean.mean(axis=0)
        offset, mean = embedding - middle, mean - middle
        if basis is not None:
            coordinates = jnp.einsum("nd,cdm->ncm", offset, basis)
            coordinates -= jnp.einsum("cd,cdm->cm", mean, basis)
            return jnp.square(coordinates[:, :, None] - centers).sum(axis=-1)
        # Rows times classes times subclasses times dims would not fit into memory.
        along = jnp.einsum("nd,csd->ncs", offset, centers)
        along -= jnp.einsum("cd,csd->cs", mean, centers)
        length = jnp.square(offset[:, None] - mean).sum(axis=-1)
        squared = length[:, :, None] - 2 * along + jnp.square(centers).sum(axis=-1)
        return jnp.maximum(squared, 0)


def check_distinct(distinct: np.ndarray, wanted: int) -> None:
    """Refuses more clusters than a class has distinct rows.

    Args:
        distinct: Distinct rows of each class, counted up to `wanted`, [c].
        wanted: Clusters wanted.

    Raises:
        UserError: A class has fewer.
    """
    if (distinct < wanted).any():
        worst = int(np.argmin(distinct))
        raise UserError(
            f"num_subclasses {wanted} exceeds the {distinct[worst]} distinct rows of class "
            f"{worst}; take num_subclasses of at most {distinct[worst]}"
        )
