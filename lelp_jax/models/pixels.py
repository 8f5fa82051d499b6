"""Images as networks see them."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Pixels = TypeVar("Pixels", jax.Array, np.ndarray)

MIDDLE = 127.5
# A product has the same rounding on all devices; of a quotient, compilers make a product.
_SCALE = 1 / 63.75


def are_pixels(inputs: Any) -> bool:
    """Checks whether inputs are images as they are stored, whose values are levels 0 to 255."""
    return inputs.dtype == jnp.uint8


def scale_pixels(inputs: Pixels) -> Pixels:
    """Maps levels 0 to 255 to numbers from -2 to 2; inputs of any other type stay as they are.

    The map is the same for all data, so nothing has to be fitted, stored or exported. Pixels of
    photographs then have about mean 0 and deviation 1.

    Args:
        inputs: Images, [..., height, width, channels] uint8, or inputs of another type.

    Returns:
        float32 of the same shape, or the inputs.
    """
    if not are_pixels(inputs):
        return inputs
    return (inputs.astype(jnp.float32) - MIDDLE) * _SCALE
