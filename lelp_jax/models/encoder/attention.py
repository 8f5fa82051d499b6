"""A block of a transformer encoder: attention, then a feed-forward part, each normalised."""

from __future__ import annotations

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lelp_jax.models.dropout import Dropout
from lelp_jax.models.encoder import positions
from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.encoder.layers import ACTIVATIONS, LayerNorm, initializer


class Places(NamedTuple):
    """What a block knows of the places of its hidden states.

    Attributes:
        mask: Which places a place attends to, [batch, 1, length or 1, length] bool.
        bias: Added to the scores of attention, [1, heads, length, length], or None.
        distances: Rows of the distances for disentangled attention, [2 length - 1, dims], or None.
        angles: Cosines and sines of rotary positions, each [length, 1, head_dims / 2], or None.
    """

    mask: jax.Array
    bias: jax.Array | None = None
    distances: jax.Array | None = None
    angles: tuple[jax.Array, jax.Array] | None = None


class Block(nn.Module):
    """Self-attention and a feed-forward part.

    Dropout is applied where BERT applies it, except on the attention probabilities: JAX's attention
    gives no access to them.

    Attributes:
        architecture: Sizes.
        dropout: Share of values dropped after each part, in [0, 1).
        compute_dtype: Type of the matrix products.
        train: Whether dropout is on.
        first: Whether it is the first one.
    """

    architecture: Architecture
    dropout: float
    compute_dtype: str
    train: bool
    first: bool

    @nn.compact
    def __call__(self, x: jax.Array, places: Places) -> jax.Array:
        """Computes the next hidden states.

        Args:
            x: Hidden states, [batch, length, dims] float32.
            places: What tells the places apart.

        Returns:
            [batch, length, dims] float32.
        """
        sizes, shape = self.architecture, x.shape
        dtype = jnp.dtype(self.compute_dtype)
        before = sizes.norm == "pre"

        def norm(name: str, values: jax.Array) -> jax.Array:
            return LayerNorm(sizes.norm_epsilon, sizes.biased, name=name)(values)

        def drop(name: str, values: jax.Array) -> jax.Array:
            return Dropout(self.dropout, name=name)(values, train=self.train)

        # One axis of tokens: on a CPU the gradient of a product with two takes up to three times as
        # long.
        x = x.reshape(-1, sizes.dims)
        seen = norm("attention_norm", x) if before and (sizes.first_norm or not self.first) else x
        attended = self._attend(seen.astype(dtype), shape, places)
        x = x + drop("output_dropout", self._dense("output", sizes.dims)(attended))
        if not before:
            x = norm("attention_norm", x)
        seen = norm("norm", x) if before else x
        inside = self._dense("up", (1 + sizes.gated) * sizes.hidden)(seen.astype(dtype))
        inside, *gate = jnp.split(inside, 1 + sizes.gated, axis=-1)
        inside = ACTIVATIONS[sizes.activation](inside)
        if gate:
            inside = inside * gate[0]
        x = x + drop("down_dropout", self._dense("down", sizes.dims)(inside))
        return (x if before else norm("norm", x)).reshape(shape)

    def _dense(self, name: str, width: int) -> nn.Dense:
        return nn.Dense(
            width,
            use_bias=self.architecture.biased,
            dtype=jnp.dtype(self.compute_dtype),
            kernel_init=initializer,
            name=name,
        )

    def _attend(self, x: jax.Array, shape: tuple[int, ...], places: Places) -> jax.Array:
        """Computes what each place gathers from the others, [batch * length, dims]."""
        sizes = self.architecture
        split = (*shape[:-1], sizes.heads, sizes.head_dims)
        # One product for the three: a third less time for attention and its gradient than three.
        dense = self._dense("query_key_value", 3 * sizes.dims)
        query, key, value = (part.reshape(split) for part in jnp.split(dense(x), 3, axis=-1))
        scale, bias = 1 / math.sqrt(sizes.head_dims), places.bias
        if places.angles is not None:
            query, key = (positions.rotate(part, *places.angles) for part in (query, key))
        if places.distances is not None:
            # Three terms in place of one (He et al., arXiv 2006.03654, equation 4).
            scale /= math.sqrt(3)
            # Distances share the projections of content.
            rows = jnp.split(dense(places.distances.astype(x.dtype)), 3, axis=-1)[:2]
            far = [row.reshape(-1, sizes.heads, sizes.head_dims) for row in rows]
            bias = scale * _disentangle(query, key, *far)
        # A text without any token attends to all places alike: finite, and nobody reads it.
        attended = jax.nn.dot_product_attention(query, key, value, bias, places.mask, scale=scale)
        return attended.reshape(x.shape)


def _disentangle(
    query: jax.Array, key: jax.Array, distance_query: jax.Array, distance_key: jax.Array
) -> jax.Array:
    """Scores content against distance and distance against content (arXiv 2006.03654, equation 4).

    Args:
        query: Of contents, [batch, length, heads, head_dims].
        key: Of contents, of that shape.
        distance_query: Of distances from `length - 1` down to `1 - length`, [2 length - 1, heads,
            head_dims].
        distance_key: Of the same distances, of that shape.

    Returns:
        [batch, heads, length, length] float32.
    """
    content = jnp.einsum("bthd,rhd->bhtr", query, distance_key, preferred_element_type=jnp.float32)
    # Seen from the key j, the query i is at the distance i - j; in the other order of distances,
    # the rows of keys are sheared as those of queries are.
    distance = jnp.einsum(
        "bthd,rhd->bhtr", key, distance_query[::-1], preferred_element_type=jnp.float32
    )
    return positions.shear(content) + positions.shear(distance).swapaxes(-1, -2)
