"""How attention tells places apart by their distance: biases, disentangled terms, rotations."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.encoder.layers import LayerNorm, initializer


class Distances(nn.Module):
    """The table of distances that all layers share.

    Attributes:
        architecture: Sizes.
    """

    architecture: Architecture

    @nn.compact
    def __call__(self, length: int) -> jax.Array:
        """Looks up the row of each distance.

        Args:
            length: Number of places.

        Returns:
            For the distances of a place before another, from `length - 1` down to `1 - length`:
            [2 length - 1, heads] for "bias", [2 length - 1, dims] for "disentangled", float32.
        """
        sizes = self.architecture
        distances = np.arange(length - 1, -length, -1)
        if sizes.position == "bias":
            table = self.param("table", initializer, (sizes.buckets, sizes.heads))
            return table[bias_rows(distances, sizes.buckets, sizes.max_distance)]
        table = self.param("table", initializer, (2 * sizes.buckets, sizes.dims))
        rows = table[disentangled_rows(distances, sizes.buckets, sizes.max_distance)]
        return LayerNorm(sizes.norm_epsilon, name="norm")(rows)


def bias_rows(distances: np.ndarray, buckets: int, max_distance: int) -> np.ndarray:
    """Computes the rows of distances as T5 does (Raffel et al., arXiv 1910.10683, section 2.1).

    Half of the rows are for each direction; half of these are for one distance each, the others
    grow with its logarithm.

    Args:
        distances: Of a query after its key; negative where it is before, [n].
        buckets: Number of rows.
        max_distance: From here on, all distances have the last row.

    Returns:
        [n] int.
    """
    side = buckets // 2
    exact = side // 2
    away = np.abs(distances)
    # In float32, so that rounding at the edge of a row is PyTorch's.
    log = np.log(np.maximum(away, 1).astype(np.float32) / np.float32(exact))
    steps = log / np.float32(np.log(max_distance / exact)) * np.float32(side - exact)
    row = np.where(away < exact, away, np.minimum(exact + steps.astype(np.int64), side - 1))
    return row + side * (distances < 0)


def disentangled_rows(distances: np.ndarray, buckets: int, max_distance: int) -> np.ndarray:
    """Computes the rows of distances as DeBERTa does, from its second version on.

    Near distances have a row each, the others one that grows with the distance's logarithm (the
    authors' code; He et al., arXiv 2006.03654, cut off at a longest distance instead).

    Args:
        distances: Of a query after its key; negative where it is before, [n].
        buckets: Number of rows to each side.
        max_distance: Its row is the last one.

    Returns:
        [n] int in 0..2 buckets - 1.
    """
    middle = buckets // 2
    away = np.abs(distances)
    # In float32, so that rounding at the edge of a row is PyTorch's.
    log = np.log(np.maximum(away, middle).astype(np.float32) / np.float32(middle))
    steps = log / np.log(np.float32((max_distance - 1) / middle)) * np.float32(middle - 1)
    far = (np.ceil(steps) + middle) * np.sign(distances)
    row = np.where(away <= middle, distances, far).astype(np.int64)
    return np.clip(row + buckets, 0, 2 * buckets - 1)


def shear(scores: jax.Array) -> jax.Array:
    """Picks the score of each pair of places from the scores of all distances.

    It is reshaping only: a lookup per pair would take several times as long, and its gradient more.

    Args:
        scores: For each query i, the scores of the distances `length - 1` down to `1 - length`,
            [..., length, 2 length - 1].

    Returns:
        At [..., i, j] the score of the distance i - j, [..., length, length].
    """
    length, width = scores.shape[-2:]
    # Row i is to start at its entry of distance i, which is number length - 1 - i. Flat, with one
    # more entry per row, that is one earlier for each next row.
    padded = jnp.pad(scores, [(0, 0)] * (scores.ndim - 1) + [(0, 1)])
    flat = padded.reshape(*scores.shape[:-2], -1)[..., length - 1 : length - 1 + length * width]
    return flat.reshape(*scores.shape[:-2], length, width)[..., :length]


def compute_angles(
    architecture: Architecture, length: int, window: int
) -> tuple[jax.Array, jax.Array]:
    """Computes cosines and sines of the rotations of places (arXiv 2104.09864, equation 15).

    Args:
        architecture: Sizes.
        length: Number of places.
        window: That of the layer; 0 where it sees the whole text.

    Returns:
        Both [length, 1, head_dims / 2] float32.
    """
    sizes = architecture
    base = np.float32(sizes.local_rotary_base if window else sizes.rotary_base)
    exponent = np.arange(0, sizes.head_dims, 2, dtype=np.float32) / np.float32(sizes.head_dims)
    angle = np.arange(length, dtype=np.float32)[:, None] * (1 / base**exponent)
    return jnp.asarray(np.cos(angle)[:, None]), jnp.asarray(np.sin(angle)[:, None])


def rotate(x: jax.Array, cosine: jax.Array, sine: jax.Array) -> jax.Array:
    """Rotates each pair of a vector's two halves by its place's angle.

    Args:
        x: Queries or keys, [batch, length, heads, head_dims].
        cosine: See `compute_angles`.
        sine: See `compute_angles`.

    Returns:
        The shape and type of x.
    """
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
