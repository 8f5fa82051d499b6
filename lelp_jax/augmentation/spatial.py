"""Changes of where pixels are: random crops, flips and squares cut out."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lelp_jax.augmentation.draws import draw_below, draw_event

# The middle of 0 to 255, which scaled pixels have near 0.
GREY = 128


def crop(key: jax.Array, image: jax.Array, padding: int) -> jax.Array:
    """Pads an image with zeros and cuts out a window of its size at a random location.

    Args:
        key: A key.
        image: [height, width, channels] uint8.
        padding: Pixels added on each side; all shifts up to it are equally likely.
    """
    row, column = draw_below(key, 2 * padding + 1, 2 * padding + 1)
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


def flip(key: jax.Array, image: jax.Array, probability: float) -> jax.Array:
    """Exchanges left and right with some probability.

    Args:
        key: A key.
        image: [height, width, channels] uint8.
        probability: That of the exchange.
    """
    return jnp.where(draw_event(key, probability), image[:, ::-1], image)


def cut_out(key: jax.Array, image: jax.Array, side: int) -> jax.Array:
    """Sets a square around a random pixel to grey (DeVries and Taylor, arXiv 1708.04552).

    As in the paper, every pixel is equally likely to be the middle, so that a part of the square
    may lie outside of the image. Of an even side, the middle is the pixel after the half.

    Args:
        key: A key.
        image: [height, width, channels] uint8.
        side: Pixels.
    """
    height, width, _ = image.shape
    row, column = (middle - side // 2 for middle in draw_below(key, height, width))
    rows, columns = jnp.arange(height)[:, None, None], jnp.arange(width)[:, None]
    inside = (rows >= row) & (rows < row + side) & (columns >= column) & (columns < column + side)
    return jnp.where(inside, jnp.uint8(GREY), image)
