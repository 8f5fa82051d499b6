"""Dropout whose random choices cost little beside a network's products of matrices."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """Sets a share of values to 0 and scales up the others (Srivastava et al., JMLR 15, 2014).

    JAX's own generator takes 40 ms on one core for the inside of a MiniLM block with 2,048 tokens,
    three times as long as the matrix product before it. Which values to drop needs less: each
    place's number is hashed with two words drawn for the call. A member of a fleet drops the same
    values as it does alone.

    Attributes:
        rate: The share, in [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Drops a share of x in training, and nothing otherwise."""
        if not train or not self.rate:
            return x
        words = jax.random.bits(self.make_rng("dropout"), (2,), jnp.uint32)
        kept = noise(words, x.shape) >= jnp.uint32(round(self.rate * 2**32))
        # Without the barrier every use of the result, the gradient among them, would hash again.
        kept = jax.lax.optimization_barrier(kept)
        return jnp.where(kept, x / (1 - self.rate), jnp.zeros((), x.dtype))


def noise(words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws uniform words, a pure function of the place and of two words.

    Args:
        words: [2] uint32.
        shape: Of what is returned, uint32.
    """
    places = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    # One round would give two calls the same words at shifted places.
    return _mix(_mix(places + words[0]) ^ words[1])


def _mix(word: jax.Array) -> jax.Array:
    """Computes a bijective hash of 32-bit words (Wellons, Prospecting for Hash Functions, 2018)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)
    return word ^ (word >> 16)
