"""Leading principal components where the covariances do not fit into memory.

Randomized block Krylov iteration (Musco and Musco, "Randomized block Krylov methods for stronger
and faster approximate singular value decomposition", NeurIPS 2015), streaming: every pass
multiplies the covariances, which are never formed, with a few vectors.

b rows of a batch, d embedding dims, c classes, k vectors, r dims taken out.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.projection.engine import moments, stream
from lelp_jax.projection.engine.rows import EmbeddedRows

# More vectors than are wanted, and several blocks: the last of the wanted ones converge by the gap
# to what is not in the block, and each further block is one more pass over the rows.
_MORE = 10
_BLOCKS = 5
# The components are the rows' alone, so the start is the same for every student.
_SEED = 0


class Spectrum(NamedTuple):
    """Eigenvalues and leading eigenvectors of each class's covariance.

    Attributes:
        mean: Mean of the rows' offsets from the origin, [c, d].
        values: Eigenvalues, largest first; more than vectors where they are known, [c, k or more].
        vectors: Eigenvectors in columns, [c, d, k].
        square: Mean squared offset from the origin before anything is taken out, [c].
    """

    mean: jax.Array
    values: jax.Array
    vectors: jax.Array
    square: jax.Array


class _BlockSums(NamedTuple):
    """Sums over the rows of each class.

    Their number [c], offsets outside the range taken out [c, d], products of these [c, d, k], and
    squares of the whole offsets [c].
    """

    size: jax.Array
    offset: jax.Array
    product: jax.Array
    square: jax.Array


def solve(rows: EmbeddedRows, origin: np.ndarray, removed: np.ndarray, count: int) -> Spectrum:
    """Computes the leading eigenvectors of the covariances.

    Args:
        rows: The rows.
        origin: What is taken off the rows of each class, [c, d].
        removed: Orthonormal columns whose span is taken out, [d, r].
        count: How many are wanted.
    """
    num_classes, dims = origin.shape
    width = min(count + _MORE, dims)
    noise = jax.random.normal(jax.random.key(_SEED), (num_classes, dims, width))
    block = _orthonormal(noise, removed)
    blocks = [block]
    while len(blocks) < _BLOCKS and len(blocks) * width < dims:
        product = _times_covariance(rows, origin, removed, block)[1]
        block = _orthonormal(product, removed)
        blocks.append(block)
    # As many columns as dims span everything: then the result is exact.
    basis = _orthonormal(jnp.concatenate(blocks, axis=2)[:, :, :dims], removed)
    mean, product, square = _times_covariance(rows, origin, removed, basis)
    values, vectors = _rotate(basis, product)
    return Spectrum(mean, values, vectors, square)


@jax.jit
def _orthonormal(columns: jax.Array, removed: jax.Array) -> jax.Array:
    """Computes orthonormal bases of the columns' spans, outside the range taken out, [c, d, k]."""
    with jax.default_matmul_precision("highest"):
        # Columns may be tiny or huge; QR is not disturbed by their scale, the projection is.
        largest = jnp.abs(columns).max(axis=1, keepdims=True)
        scaled = columns / jnp.where(largest > 0, largest, 1)
        outside = jax.vmap(lambda own: moments.outside(own.T, removed).T)(scaled)
        return jnp.linalg.qr(outside)[0]


def _times_covariance(
    rows: EmbeddedRows, origin: np.ndarray, removed: np.ndarray, vectors: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Computes the means, each class's covariance times its vectors, and mean squared offsets."""
    classes = jnp.zeros(len(origin))
    like = _BlockSums(classes, jnp.zeros(origin.shape), jnp.zeros(vectors.shape), classes)
    sums = stream.reduce(_add, stream.add_up, like, rows, len(origin), (origin, removed, vectors))
    return _centred(sums, vectors)


def _add(
    state: _BlockSums,
    rows: jax.Array,
    label: jax.Array,
    count: jax.Array,
    *constants: jax.Array,
) -> _BlockSums:
    origin, removed, vectors = constants
    whole = moments.offsets(rows, label, count, origin)
    offset = moments.outside(whole, removed)
    return _BlockSums(
        state.size.at[label].add(count),
        state.offset.at[label].add(offset.sum(axis=0)),
        state.product.at[label].add(offset.T @ (offset @ vectors[label])),
        state.square.at[label].add(jnp.square(whole).sum()),
    )


@jax.jit
def _centred(sums: _BlockSums, vectors: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    with jax.default_matmul_precision("highest"):
        size = jnp.maximum(sums.size, 1)
        mean = sums.offset / size[:, None]
        along = jnp.einsum("cd,cdk->ck", mean, vectors)
        between = sums.offset[:, :, None] * along[:, None]
        covariance = (sums.product - between) / jnp.maximum(sums.size - 1, 1)[:, None, None]
        return mean, covariance, sums.square / size


@jax.jit
def _rotate(basis: jax.Array, product: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes the Ritz values [c, k] and vectors [c, d, k] of the spans, largest first."""
    with jax.default_matmul_precision("highest"):
        inner = jnp.einsum("cdk,cdl->ckl", basis, product)
        values, turn = jnp.linalg.eigh((inner + jnp.swapaxes(inner, 1, 2)) / 2)
        return values[:, ::-1], basis @ turn[:, :, ::-1]
