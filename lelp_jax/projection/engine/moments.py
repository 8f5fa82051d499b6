"""Mean and covariance of every class in one pass, whatever the number of rows.

Batches are merged as Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
computing sample variances" (1979), merge samples, about an origin near each class's mean, so that
neither many rows nor a large common mean costs accuracy.

b rows of a batch, d embedding dims, c classes, r dims taken out.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.projection.engine import stream
from lelp_jax.projection.engine.rows import ROUNDING, EmbeddedRows, rescale


class Moments(NamedTuple):
    """Moments of each class.

    Attributes:
        size: Rows, [c] float32.
        mean: Mean of the rows' offsets from the origin, [c, d].
        scatter: Sum of the squared deviations from the mean, [c, d, d].
        square: Sum of the squared offsets from the origin before anything is taken out, [c].
    """

    size: jax.Array
    mean: jax.Array
    scatter: jax.Array
    square: jax.Array


def collect(
    rows: EmbeddedRows, num_classes: int, origin: np.ndarray, removed: np.ndarray
) -> Moments:
    """Computes the moments of every class.

    Args:
        rows: The rows.
        num_classes: Number of classes.
        origin: What is taken off the rows of each class, [c, d].
        removed: Orthonormal columns whose span is taken out of the offsets, [d, r].
    """
    dims = origin.shape[1]

    def zeros() -> Moments:
        return Moments(
            jnp.zeros(num_classes),
            jnp.zeros((num_classes, dims)),
            jnp.zeros((num_classes, dims, dims)),
            jnp.zeros(num_classes),
        )

    like = jax.eval_shape(zeros)
    return stream.reduce(add, _merge, like, rows, num_classes, (origin, removed))


def offsets(rows: jax.Array, label: jax.Array, count: jax.Array, origin: jax.Array) -> jax.Array:
    """Computes the rows of a batch from their class's origin, [b, d].

    Args:
        rows: Rows of one class, [b, d].
        label: The class, [].
        count: How many there are; the others come out as zeros.
        origin: [c, d].
    """
    return jnp.where(jnp.arange(len(rows))[:, None] < count, rows - origin[label], 0)


def outside(rows: jax.Array, removed: jax.Array) -> jax.Array:
    """Computes the part of the rows [b, d] outside the span of orthonormal columns [d, r]."""
    return rows - (rows @ removed) @ removed.T


def add(
    state: Moments,
    rows: jax.Array,
    label: jax.Array,
    count: jax.Array,
    origin: jax.Array,
    removed: jax.Array,
) -> Moments:
    """Computes the moments with a batch of one class's rows added; see `offsets`."""
    whole = offsets(rows, label, count, origin)
    offset = outside(whole, removed)
    size = count.astype(jnp.float32)
    mean = offset.sum(axis=0) / jnp.maximum(size, 1)
    # Near the origin the mean is small, and taking it off afterwards spares a copy of the rows.
    within = offset.T @ offset - size * jnp.outer(mean, mean)
    # A batch's mean differs from the mean so far: what their distance adds is between them.
    before = state.size[label]
    total = before + size
    difference = mean - state.mean[label]
    share = size / jnp.maximum(total, 1)
    scatter = within + before * share * jnp.outer(difference, difference)
    return Moments(
        state.size.at[label].set(total),
        state.mean.at[label].add(share * difference),
        state.scatter.at[label].add(scatter),
        state.square.at[label].add(jnp.square(whole).sum()),
    )


def _merge(state: Moments, axis: str) -> Moments:
    count = jax.lax.psum(state.size, axis)
    mean = jax.lax.psum(state.size[:, None] * state.mean, axis) / jnp.maximum(count, 1)[:, None]
    difference = state.mean - mean
    between = state.size[:, None, None] * difference[:, :, None] * difference[:, None, :]
    scatter, square = jax.lax.psum((state.scatter + between, state.square), axis)
    return Moments(count, mean, scatter, square)


def rounding_variance(total: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Computes up to which variance a direction of each class may hold rounding alone, [c].

    What is left outside a span has to be compared with what there was: where nothing is left,
    rounding takes its place, in all directions. Neither term grows with the number of rows.

    Args:
        total: Mean squared offset of each class's rows from a point among them, before anything is
            taken out, [c].
        square: Mean square of these rows, [c].
    """
    # The first bounds what weights estimated from float32 moments leave of their own range. The
    # second is that of the last bits of rows whose mean is much larger than their deviation.
    return np.maximum(np.finfo(np.float32).eps * total, ROUNDING**2 * square)


def means(rows: EmbeddedRows, num_classes: int) -> np.ndarray:
    """Computes the mean of every class, [c, d] float32.

    Args:
        rows: The rows.
        num_classes: Number of classes.
    """
    rows, unit = rescale(rows)
    origin = stream.origin(rows, num_classes)
    like = (jnp.zeros(num_classes), jnp.zeros(origin.shape))
    count, total = stream.reduce(_add_rows, stream.add_up, like, rows, num_classes, (origin,))
    offset = np.asarray(total) / np.maximum(np.asarray(count), 1)[:, None]
    if not np.isfinite(offset).all():
        stream.refuse_bad_rows(rows)
    return np.float32(unit) * (origin + offset)


def _add_rows(
    state: tuple[jax.Array, jax.Array],
    rows: jax.Array,
    label: jax.Array,
    count: jax.Array,
    origin: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    offset = offsets(rows, label, count, origin)
    return state[0].at[label].add(count), state[1].at[label].add(offset.sum(axis=0))
