"""Values without their mean and their scale, with finite gradients where all of them agree."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

# Values closer than this, beside the largest of them, differ by the rounding of float32 alone.
_ROUNDING = 1e-6
# Below this the square of a difference leaves the range of float32.
_TINY = 1e-15
# Added to the standard deviation, as in the code of Sun et al.
_EPSILON = 1e-7


def deviations(values: jax.Array, axis: int | Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """Computes differences to the mean and their Euclidean norm, whose axes have length 1.

    Where all values agree up to rounding, the differences are exactly 0 and the norm is 1 in place
    of 0; the gradient of the differences stays, so that such values may still be drawn apart.

    Args:
        values: Of any shape.
        axis: What the mean is over.
    """
    values = values.astype(jnp.float32)
    difference = values - values.mean(axis, keepdims=True)
    largest = jnp.abs(values).max(axis, keepdims=True)
    agree = jnp.abs(difference).max(axis, keepdims=True) <= _ROUNDING * largest + _TINY
    difference = jnp.where(agree, difference - jax.lax.stop_gradient(difference), difference)
    squared = jnp.sum(difference**2, axis, keepdims=True)
    return difference, jnp.sqrt(jnp.where(agree, 1.0, squared))


def z_score(values: jax.Array, axis: int | Sequence[int]) -> jax.Array:
    """Computes `(values - mean) / (1e-7 + standard deviation)`, float32.

    The deviation is that of a sample, its squares divided by one less than their number, as in the
    code of Sun et al. (arXiv 2403.01427).

    Args:
        values: Of any shape; at least two along the axis.
        axis: What is standardised over.
    """
    difference, norm = deviations(values, axis)
    count = values.size // norm.size
    return difference / (_EPSILON + norm / np.sqrt(count - 1))


def pearson(first: jax.Array, second: jax.Array, axis: int | Sequence[int]) -> jax.Array:
    """Computes the correlation, without the axis; 0 where the values of one side all agree.

    Args:
        first: Of any shape.
        second: Of the same.
        axis: What is correlated over.
    """
    (left, left_norm), (right, right_norm) = deviations(first, axis), deviations(second, axis)
    # Each side by its own norm: the product of two small norms leaves the range of float32.
    return jnp.sum((left / left_norm) * (right / right_norm), axis)
