"""Random whole numbers, the only source of chance for single images."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def draw_below(key: jax.Array, *bounds: int) -> tuple[jax.Array, ...]:
    """Draws a whole number from 0 to below each of the bounds, [] int32 each.

    The remainder of 32 random bits: no number is more than `bound / 2**32` too frequent. That takes
    a single call of the generator for all of them.

    Args:
        key: A key.
        *bounds: Each from 1 to 2**31 - 1.
    """
    bits = jax.random.bits(key, (len(bounds),), jnp.uint32)
    return tuple((bits % jnp.array(bounds, jnp.uint32)).astype(jnp.int32))


def draw_event(key: jax.Array, probability: float) -> jax.Array:
    """Draws whether an event happens, [] bool.

    Args:
        key: A key.
        probability: From 0, never, to 1, always; rounded to a multiple of 2**-24.
    """
    return draw_below(key, 1 << 24)[0] < round(probability * (1 << 24))
