"""Maps from each value of a channel to another, as in Pillow's `ImageOps`.

Whole numbers are divided in floating point, which is twice as fast. A half added to the numerator
keeps the quotient away from whole numbers, so that rounding it down is exact in spite of the
division's error, for images of up to 4 million pixels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_VALUES = 256


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretches the values of each channel to 0 to 255; a channel of one value stays.

    Rounded down. Pillow does the same in floating point, where some whole results end up one
    lower.

    Args:
        image: [height, width, channels] uint8.
    """
    low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    span = jnp.maximum(high - low, 1).astype(jnp.float32)
    above = (image - low).astype(jnp.float32) * (_VALUES - 1)
    return jnp.where(high > low, jnp.floor((above + 0.5) / span).astype(jnp.uint8), image)


def equalize(image: jax.Array) -> jax.Array:
    """Brings the values of each channel near to a uniform distribution.

    A channel stays where fewer than 255 pixels lie below its highest value.

    Args:
        image: [height, width, channels] uint8.
    """
    channels = image.shape[-1]
    places = image.astype(jnp.int32) + _VALUES * jnp.arange(channels)
    # One flat index: with several, they would be stored beside one another first.
    counts = jnp.zeros(channels * _VALUES).at[places.reshape(-1)].add(1).reshape(channels, _VALUES)
    # Exact for whole numbers below 2**24, and faster than `cumsum` over so short an axis.
    earlier = jnp.triu(jnp.ones((_VALUES, _VALUES)), 1)
    below = jnp.matmul(counts, earlier, precision=jax.lax.Precision.HIGHEST)
    # All pixels but those of the highest value: as many as are below it.
    step = jnp.floor((jnp.where(counts > 0, below, 0).max(axis=1) + 0.5) / (_VALUES - 1))
    mapped = (below.reshape(-1)[places] + jnp.floor(step / 2) + 0.5) / jnp.maximum(step, 1)
    mapped = jnp.minimum(jnp.floor(mapped), _VALUES - 1).astype(jnp.uint8)
    return jnp.where(step > 0, mapped, image)


def posterize(image: jax.Array, bits: int) -> jax.Array:
    """Keeps the highest bits of each value.

    Args:
        image: [height, width, channels] uint8.
        bits: How many, from 1 to 8.
    """
    return image & jnp.uint8(_VALUES - (1 << (8 - bits)))


def solarize(image: jax.Array, threshold: int) -> jax.Array:
    """Inverts values from a threshold on.

    Args:
        image: [height, width, channels] uint8.
        threshold: From 0, all, to 256, none.
    """
    return jnp.where(image.astype(jnp.int32) < threshold, image, 255 - image)
