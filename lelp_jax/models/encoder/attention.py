"""A block of a transformer encoder: attention, then a feed-forward part, each normalised after."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.encoder.dropout import Dropout

# Devlin et al., arXiv 1810.04805: every weight starts from a normal distribution of this deviation.
initializer = nn.initializers.normal(0.02)


def gelu(x: jax.Array) -> jax.Array:
    """Computes x times the normal distribution's cumulative function (arXiv 1606.08415, section 2).

    By the error function, which takes a third of the time of its complement in `jax.nn.gelu`.
    """
    return 0.5 * x * (1 + jax.lax.erf(x * jnp.asarray(math.sqrt(0.5), x.dtype)))


ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "gelu_new": nn.gelu,
    "relu": nn.relu,
}


class LayerNorm(nn.Module):
    """Normalises the last axis in float32 (Ba et al., arXiv 1607.06450, equation 3).

    Attributes:
        epsilon: Added to the variance.
    """

    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes x normalised, scaled and shifted, float32 of its shape."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        x = x.astype(jnp.float32)
        # From the centred values: a difference of two large moments would lose digits.
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = jnp.square(centred).mean(axis=-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + self.epsilon) * scale + bias


class Block(nn.Module):
    """Self-attention and a feed-forward part, as BERT has them.

    Dropout is applied where BERT applies it, except on the attention probabilities: JAX's attention
    gives no access to them.

    Attributes:
        architecture: Sizes.
        dropout: Share of values dropped after each part, in [0, 1).
        compute_dtype: Type of the matrix products.
        train: Whether dropout is on.
    """

    architecture: Architecture
    dropout: float
    compute_dtype: str
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Computes the next hidden states.

        Args:
            x: Hidden states, [batch, length, dims] float32.
            mask: Which places hold a token, [batch, length] bool.

        Returns:
            [batch, length, dims] float32.
        """
        sizes = self.architecture
        dtype = jnp.dtype(self.compute_dtype)

        def dense(name: str, width: int, inputs: jax.Array) -> jax.Array:
            return nn.Dense(width, dtype=dtype, kernel_init=initializer, name=name)(inputs)

        def drop(name: str, values: jax.Array) -> jax.Array:
            return Dropout(self.dropout, name=name)(values, train=self.train)

        split = (*x.shape[:-1], sizes.heads, sizes.dims // sizes.heads)
        # One axis of tokens: on a CPU the gradient of a product with two takes up to three times as
        # long.
        x = x.reshape(-1, sizes.dims)
        narrow = x.astype(dtype)
        # One product for the three: a third less time for attention and its gradient than three.
        together = jnp.split(dense("query_key_value", 3 * sizes.dims, narrow), 3, axis=-1)
        query, key, value = (part.reshape(split) for part in together)
        # A text without any token attends to all places alike: finite, and nobody reads it.
        attended = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None, None, :])
        attended = dense("output", sizes.dims, attended.reshape(x.shape))
        x = x + drop("output_dropout", attended)
        x = LayerNorm(sizes.norm_epsilon, name="attention_norm")(x)
        inside = ACTIVATIONS[sizes.activation](dense("up", sizes.hidden, x.astype(dtype)))
        x = x + drop("down_dropout", dense("down", sizes.dims, inside))
        return LayerNorm(sizes.norm_epsilon, name="norm")(x).reshape(*mask.shape, sizes.dims)
