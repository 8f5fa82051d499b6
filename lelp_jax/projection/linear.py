"""Scores along directions, however these were found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core.search_space import Value
from lelp_jax.projection.base import Array
from lelp_jax.projection.engine.rows import EmbeddedRows


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LinearProjection:
    """Directions of each class.

    Attributes:
        basis: Orthonormal columns, [classes, dims, subclasses], or [heads, classes, dims,
            subclasses] for several splits of the same classes.
        mean: What is taken off the rows before they are scored, [classes, dims].
        scale: What scores are divided by, [classes].
        explained_variance: Variance of each class in its span, direction by direction,
            [classes, subclasses].
        column_mask: Which pseudo-subclasses exist: all of them.
    """

    basis: Array
    mean: Array
    scale: Array
    explained_variance: Array
    column_mask: Array
    uses_embedding: ClassVar[bool] = True

    def scores(self, rows: EmbeddedRows) -> jax.Array:
        """Computes `u' (h - mean) / scale`, [rows, classes, subclasses] (design of eq. 5).

        With several heads they are [rows, heads, classes, subclasses]. The basis is orthogonal to
        the output weights when it was fitted in the null space, so the embedding need not be
        projected again.
        """
        return _scores(self, jnp.asarray(rows.embedding))


@jax.jit
def _scores(projection: LinearProjection, embedding: jax.Array) -> jax.Array:
    basis, mean = jnp.asarray(projection.basis), jnp.asarray(projection.mean)
    with jax.default_matmul_precision("highest"):
        # From the middle of the means: the products of a large common mean would round away the
        # difference that is wanted.
        middle = mean.mean(axis=0)
        offset = jnp.einsum("cd,...cds->...cs", mean - middle, basis)
        along = jnp.einsum("nd,...cds->n...cs", embedding - middle, basis)
        return (along - offset) / projection.scale[:, None]


def along_directions(
    basis: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    hyperparameters: Mapping[str, Value],
) -> LinearProjection:
    """Builds the projection that scores rows along directions.

    Args:
        basis: As in `LinearProjection`.
        mean: Mean of each class, [classes, dims].
        variance: Variance of each class in its span, direction by direction, [classes, subclasses].
        hyperparameters: `center` takes the mean off, `standardize` divides by the root of the mean
            variance.
    """
    scale = (
        np.sqrt(variance.mean(axis=1)) if hyperparameters["standardize"] else np.ones(len(variance))
    )
    return LinearProjection(
        basis=basis,
        mean=mean if hyperparameters["center"] else np.zeros_like(mean),
        scale=scale.astype(np.float32),
        # float32 may not hold the square of what it holds.
        explained_variance=np.asarray(variance, np.float64),
        column_mask=np.ones((*basis.shape[:-2], basis.shape[-1]), bool),
    )
