"""Scores from the centres of clusters, however these were found.

n rows, d embedding dims, c classes, s subclasses, m coordinates.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.projection.base import Array
from lelp_jax.projection.engine.rows import EmbeddedRows


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Centers:
    """Centres of the clusters of each class.

    Attributes:
        mean: Mean of each class, [c, d].
        centers: From the class's mean, [c, s, m], or [c, s, d] without a basis.
        radius: Root mean squared distance of a class's rows to their nearest centre, [c].
        soft: If True, weights all clusters by distance; if False, assigns the nearest. [] bool.
        column_mask: Which pseudo-subclasses exist: all of them.
        basis: Orthonormal columns in which distances are measured, [c, d, m], or None.
    """

    mean: Array
    centers: Array
    radius: Array
    soft: Array
    column_mask: Array
    basis: Array | None = None
    uses_embedding: ClassVar[bool] = True

    def scores(self, rows: EmbeddedRows) -> jax.Array:
        """Computes scores, [n, c, s].

        Soft: `-(distance / radius)^2 / 2`. Hard: 0 for the nearest centre of each class, -inf for
        the others.
        """
        return _scores(self, jnp.asarray(rows.embedding))


@jax.jit
def _scores(fitted: Centers, embedding: jax.Array) -> jax.Array:
    radius = jnp.asarray(fitted.radius)
    # In units of a power of two, which rounds nothing: of embeddings that are themselves in
    # float32 the squares may not be.
    exponent = -jnp.frexp(radius.max())[1]
    embedding, mean, centers, radius = (
        jnp.ldexp(array, exponent) for array in (embedding, fitted.mean, fitted.centers, radius)
    )
    distance = _squared_distances(embedding, mean, centers, fitted.basis)
    nearest = jax.nn.one_hot(distance.argmin(axis=-1), distance.shape[-1], dtype=bool)
    return jnp.where(
        fitted.soft,
        -distance / radius[:, None] / (2 * radius[:, None]),
        jnp.where(nearest, 0.0, -jnp.inf),
    )


def _squared_distances(
    embedding: jax.Array, mean: jax.Array, centers: jax.Array, basis: Array | None
) -> jax.Array:
    """Computes the squared distance of rows [n, d] to every centre of every class, [n, c, s]."""
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


def around(
    mean: np.ndarray,
    centers: np.ndarray,
    radius: np.ndarray,
    *,
    soft: bool,
    basis: np.ndarray | None = None,
) -> Centers:
    """Builds the projection that scores rows by their distance to centres; see `Centers`."""
    return Centers(
        mean=mean.astype(np.float32),
        centers=centers.astype(np.float32),
        radius=radius.astype(np.float32),
        soft=np.array(soft),
        column_mask=np.ones(centers.shape[:2], bool),
        basis=None if basis is None else basis.astype(np.float32),
    )


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
        least = int(distinct[worst])
        hint = f"take num_subclasses of at most {least}" if least > 1 else "leave the method out"
        raise UserError(
            f"num_subclasses {wanted} exceeds the {least} distinct rows of class {worst}; {hint}"
        )
