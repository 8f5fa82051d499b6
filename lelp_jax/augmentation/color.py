"""Brightness, contrast, saturation and sharpness, as Pillow's `ImageEnhance` changes them.

Each moves the pixels away from a degenerate image, which lacks just that quality, or towards it:
`degenerate + factor * (image - degenerate)`. That image is black for brightness, of one grey for
contrast, without colour for saturation and smooth for sharpness.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.augmentation.draws import draw_below

# Factors are whole multiples of 2**-16.
ONE = 1 << 16


def jitter(
    key: jax.Array, image: jax.Array, brightness: float, contrast: float, saturation: float
) -> jax.Array:
    """Changes brightness, contrast and saturation, in random order.

    This is torchvision's `ColorJitter` without hue.

    Args:
        key: A key.
        image: [height, width, channels] uint8.
        brightness: The factor is uniform from 1 - brightness to 1 + brightness.
        contrast: The same for contrast.
        saturation: The same for saturation; without effect on images of one channel.
    """
    spreads = [round(spread * ONE) for spread in (brightness, contrast, saturation)]
    active = [kind for kind, spread in enumerate(spreads) if spread]
    orders = np.array(tuple(itertools.permutations(active)), np.int32)
    order, *draws = draw_below(key, len(orders), *[2 * spread + 1 for spread in spreads])
    factors = ONE + jnp.stack(draws) - jnp.array(spreads)
    for kind in jnp.asarray(orders)[order]:
        degenerates = (make_black(image), make_even_grey(image), make_colorless(image))
        image = blend(image, select(kind, degenerates), factors[kind])
    return image


def blend(image: jax.Array, degenerate: jax.Array, factor: jax.Array) -> jax.Array:
    """Computes `degenerate + factor * (image - degenerate)`, rounded down as in Pillow.

    Args:
        image: [height, width, channels] uint8.
        degenerate: The image at factor 0, int32, of a shape that broadcasts to it.
        factor: In units of 1 / ONE, [] int32; at most 2**22.
    """
    moved = degenerate * ONE + factor * (image.astype(jnp.int32) - degenerate)
    return jnp.clip(moved >> 16, 0, 255).astype(jnp.uint8)


def make_black(image: jax.Array) -> jax.Array:
    """Makes the degenerate image of brightness, [1, 1, 1] int32."""
    del image
    return jnp.zeros((1, 1, 1), jnp.int32)


def make_colorless(image: jax.Array) -> jax.Array:
    """Makes the degenerate image of saturation, the luma of ITU-R 601-2, [height, width, 1] int32.

    Pillow's weights in units of 2**-16.
    """
    image = image.astype(jnp.int32)
    if image.shape[-1] == 1:
        return image
    luma = (image * jnp.array([19595, 38470, 7471])).sum(axis=-1, keepdims=True)
    return (luma + ONE // 2) >> 16


def make_even_grey(image: jax.Array) -> jax.Array:
    """Makes the degenerate image of contrast, its mean luma, [1, 1, 1] int32."""
    luma = make_colorless(image)
    return jax.lax.div(2 * luma.sum(keepdims=True) + luma.size, 2 * luma.size)


def make_smooth(image: jax.Array) -> jax.Array:
    """Makes the degenerate image of sharpness, [height, width, channels] int32.

    Pillow's filter `SMOOTH`: the mean of 3 x 3 pixels with weight 5 in the middle; the border
    stays.
    """
    height, width, _ = image.shape
    image = image.astype(jnp.int32)
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    total = 4 * image + sum(
        padded[row : row + height, column : column + width]
        for row in range(3)
        for column in range(3)
    )
    rows, columns = jnp.arange(height)[:, None, None], jnp.arange(width)[:, None]
    inner = (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)
    return jnp.where(inner, jax.lax.div(2 * total + 13, 26), image)


def select(index: jax.Array, arrays: Sequence[jax.Array]) -> jax.Array:
    """Selects one of several arrays; they are brought to one shape.

    Args:
        index: Which, [] int32.
        arrays: Arrays whose shapes broadcast to one another's.
    """
    return jax.lax.select_n(index, *jnp.broadcast_arrays(*arrays))
