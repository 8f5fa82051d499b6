"""Maps from each value of a channel to another, as in Pillow's `ImageOps`."""

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
    range_ = jnp.maximum(high - low, 1).astype(jnp.float32)
    # The half keeps a quotient of whole numbers away from the next one, so that rounding it down
    # is exact whatever the error of the division. Whole numbers are divided far more slowly.
    above = (image - low).astype(jnp.float32) * 255 + 0.5
    return jnp.where(high > low, jnp.floor(above / range_).astype(jnp.uint8), image)


def equalize(image: jax.Array) -> jax.Array:
    """Brings the values of each channel near to a uniform distribution.

    A channel stays where fewer than 255 pixels lie below its highest value.

    Args:
        image: [height, width, channels] uint8.
    """
    channels = image.shape[-1]
    places = image.astype(jnp.int32) + _VALUES * jnp.arange(channels)
    # One flat index: with several, they would be stored beside one another first.
    counts = jnp.zeros(channels * _VALUES, jnp.int32).at[places.reshape(-1)].add(1)
    counts = counts.reshape(channels, _VALUES)
    below = jnp.cumsum(counts, axis=1) - counts
    # All but those of the highest value: as many as are below it.
    step = jax.lax.div(jnp.max(jnp.where(counts > 0, below, 0), axis=1), 255)
    curve = jax.lax.div(step[:, None] // 2 + below, jnp.maximum(step, 1)[:, None])
    mapped = jnp.minimum(curve, 255).astype(jnp.uint8).reshape(-1)[places]
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
