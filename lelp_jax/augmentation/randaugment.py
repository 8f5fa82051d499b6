"""RandAugment (Cubuk et al., arXiv 1909.13719): some operations of 14, all of one magnitude."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.augmentation import color, tone
from lelp_jax.augmentation.draws import draw_below
from lelp_jax.augmentation.spatial import GREY

# The paper's 14, by kind. Each layer applies one operation of every kind, of which all but the one
# drawn are the identity. Under `vmap` each image would compute all branches of a choice anyway, and
# so the operations of a kind share their work.
_WARPS = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_BLENDS = ("brightness", "contrast", "color", "sharpness")
_CURVES = ("autocontrast", "equalize", "posterize", "solarize")
OPERATIONS = ("identity", *_WARPS, *_BLENDS, *_CURVES)

# Row of the affine map that an operation changes: 0 for columns, 1 for rows.
_AXES = {"shear_x": 0, "translate_x": 0, "shear_y": 1, "translate_y": 1}

# Magnitude 10 is the strongest that AutoAugment knows; the paper goes on linearly from there.
_FULL = 10


def randaugment(key: jax.Array, image: jax.Array, layers: int, magnitude: int) -> jax.Array:
    """Applies random operations, one after another.

    Args:
        key: A key.
        image: [height, width, channels] uint8.
        layers: How many operations; the same may come again.
        magnitude: Strength of all of them.
    """
    draws = draw_below(key, *[len(OPERATIONS), 2] * layers)

    def one_layer(image: jax.Array, draw: jax.Array) -> tuple[jax.Array, None]:
        return apply_operation(image, draw[0], draw[1], magnitude), None

    return jax.lax.scan(one_layer, image, jnp.stack(draws).reshape(layers, 2))[0]


def apply_operation(
    image: jax.Array, operation: jax.Array, side: jax.Array, magnitude: int
) -> jax.Array:
    """Applies one operation.

    At magnitude 10, images are rotated by 30 degrees, sheared by 0.3 or translated by 150/331 of
    the side, blends have the factor 0.1 or 1.9, posterize keeps 4 bits, and solarize inverts all
    values. Magnitude 0 is the identity, and the strength grows linearly up to magnitude 30; but
    translations stay as at 10, and there is no factor below 0.1 and no fewer than one bit.
    `identity`, `autocontrast` and `equalize` have no strength.

    The reference code has factors from 0.1 at magnitude 0 upwards, without a sign, and makes
    posterize and solarize weaker as the magnitude grows.

    Args:
        image: [height, width, channels] uint8.
        operation: Position in OPERATIONS, [] int32.
        side: Direction of a warp, 0 or 1; the larger or the smaller factor of a blend, [] int32.
        magnitude: Strength, from 0 to 30.
    """
    strength = magnitude / _FULL
    position = {name: OPERATIONS.index(name) for name in OPERATIONS}
    # (1) Warps.
    warps = np.zeros((len(OPERATIONS), 2, 2, 3), np.int32)
    warps[:] = _fix_warp(np.eye(2, 3))
    for name in _WARPS:
        for way in range(2):
            matrix = _make_warp(name, strength * (1 - 2 * way), *image.shape[:2])
            warps[position[name], way] = _fix_warp(matrix)
    image = warp(image, jnp.asarray(warps)[operation, side])
    # (2) Blends with a degenerate image.
    factors = np.full((len(OPERATIONS), 2), color.ONE, np.int32)
    for name in _BLENDS:
        for way in range(2):
            factor = max(0.1, 1 + 0.9 * strength * (1 - 2 * way))
            factors[position[name], way] = round(factor * color.ONE)
    degenerates = (
        color.make_black(image),
        color.make_even_grey(image),
        color.make_colorless(image),
        color.make_smooth(image),
    )
    which = jnp.clip(operation - position[_BLENDS[0]], 0, len(_BLENDS) - 1)
    image = color.blend(
        image, color.select(which, degenerates), jnp.asarray(factors)[operation, side]
    )
    # (3) Curves.
    images = (
        image,
        tone.autocontrast(image),
        tone.equalize(image),
        tone.posterize(image, max(1, 8 - round(4 * strength))),
        tone.solarize(image, max(0, 256 - round(256 * strength))),
    )
    which = jnp.maximum(operation - position[_CURVES[0]] + 1, 0)
    return color.select(which, images)


def warp(image: jax.Array, matrix: jax.Array) -> jax.Array:
    """Moves pixels by an affine map, without interpolation; outside of the image is grey.

    The nearest pixel is also what the paper's reference code takes, and Pillow by default.

    Args:
        image: [height, width, channels] uint8.
        matrix: Column and row, in units of 2**-16, of the source of the pixel at
            (column, row, 1), [2, 3] int32.
    """
    height, width, channels = image.shape
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
    column, row = ((a * columns + b * rows + c) >> 16 for a, b, c in matrix)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = jnp.where(inside, row * width + column, 0)
    moved = image.reshape(height * width, channels)[place]
    return jnp.where(inside[:, :, None], moved, jnp.uint8(GREY))


def _make_warp(name: str, strength: float, height: int, width: int) -> np.ndarray:
    """Makes the affine map of an operation, from places in the result to places in the image."""
    matrix = np.eye(2, 3)
    if name == "rotate":
        angle = math.radians(30 * strength)
        matrix[:, :2] = [
            [math.cos(angle), math.sin(angle)],
            [-math.sin(angle), math.cos(angle)],
        ]
        centre = np.array([width / 2, height / 2])
        matrix[:, 2] = centre - matrix[:, :2] @ centre
    elif name in ("shear_x", "shear_y"):
        row = _AXES[name]
        matrix[row, 1 - row] = 0.3 * strength
    else:
        row = _AXES[name]
        share = 150 / 331 * max(-1.0, min(1.0, strength))
        matrix[row, 2] = round(share * (width, height)[row])
    return matrix


def _fix_warp(matrix: np.ndarray) -> np.ndarray:
    """Converts a map of places into one of pixel numbers, in units of 2**-16, as Pillow does."""
    middle = matrix[:, :2].sum(axis=1) / 2
    numbers = np.concatenate([matrix[:, :2], (matrix[:, 2] + middle)[:, None]], axis=1)
    return np.floor(numbers * (1 << 16) + 0.5).astype(np.int32)
