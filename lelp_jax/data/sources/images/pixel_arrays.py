"""Brings arrays of pixels, as other programs store them, to images of 8 bits."""

from __future__ import annotations

import logging

import numpy as np

from lelp_jax.core.errors import UserError

_LOG = logging.getLogger(__name__)
CHANNELS = (1, 3)
# What 16 bits have to be divided by, so that 65535 becomes 255.
FROM_16_BITS = 257
_LARGEST = 255
# Images whose largest pixel is below are suspicious: they are hardly told from black.
_DARK = 32


def read_pixels(pixels: np.ndarray, name: str) -> np.ndarray:
    """Converts pixels to images, [rows, height, width, channels] uint8; logs what it changes.

    Args:
        pixels: [rows, height, width] or [rows, height, width, channels], whole numbers in 0..255,
            or uint16 in 0..65535.
        name: What holds them, for messages ("mnist.npz x_train").

    Raises:
        UserError: They have another shape, type or range.
    """
    pixels = _check_shape(pixels, name)
    kind = pixels.dtype
    if kind.kind == "f":
        raise UserError(f"{name} is of type {kind}, not uint8; {_hint_at_conversion(pixels)}")
    if kind.kind not in "iu":
        hint = f"; save numpy.uint8(255) * {name.split()[-1]}" if kind.kind == "b" else ""
        raise UserError(f"{name} is of type {kind}; whole numbers in 0..255 are needed{hint}")
    smallest, largest = int(pixels.min()), int(pixels.max())
    if smallest < 0 or (largest > _LARGEST and kind != np.uint16):
        wrong = (pixels < 0) | (pixels > _LARGEST)
        row = int(np.argmax(wrong.reshape(len(pixels), -1).any(axis=1)))
        value = int(pixels[row][wrong[row]][0])
        raise UserError(
            f"{name} row {row}: pixel {value} is outside 0..255; scale the images to that range "
            "and save them as uint8"
        )
    if largest > _LARGEST:
        _LOG.info("%s: images of 16 bits are divided by %d", name, FROM_16_BITS)
        return scale_16_bits(pixels)
    if largest == 1:
        raise UserError(
            f"{name}: the largest pixel is 1, which is hardly told from black in 0..255; if images "
            "are black and white, multiply them by 255"
        )
    if largest < _DARK:
        _LOG.warning(
            "%s: the largest pixel is %d of 255, so that all images are almost black; if that is "
            "white, scale them to 0..255",
            name,
            largest,
        )
    if kind != np.uint8:
        _LOG.info("%s: %s in %d..%d is converted to uint8", name, kind, smallest, largest)
        return pixels.astype(np.uint8)
    return pixels


def scale_16_bits(pixels: np.ndarray) -> np.ndarray:
    """Scales pixels in 0..65535 to 0..255, rounded, as uint8.

    Args:
        pixels: Of any shape, uint16.
    """
    result = np.empty(pixels.shape, np.uint8)
    for row, image in enumerate(pixels):
        # The nearest, without a sum that 16 bits could not hold.
        whole, rest = np.divmod(image, FROM_16_BITS)
        result[row] = whole + (rest > FROM_16_BITS // 2)
    return result


def _check_shape(pixels: np.ndarray, name: str) -> np.ndarray:
    """Checks the layout and adds the axis of channels where it is missing."""
    key, shape = name.split()[-1], pixels.shape
    problem = f"{name} has shape {shape}; [rows, height, width, channels] with 1 or 3 channels is "
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    elif pixels.ndim == 2:
        raise UserError(
            f"{problem}needed: reshape it, as {key}.reshape(-1, HEIGHT, WIDTH, CHANNELS), or use "
            "config.data.source=arrays for features that are no pixels"
        )
    elif pixels.ndim != 4:
        raise UserError(f"{problem}needed")
    elif shape[3] not in CHANNELS:
        if shape[1] in CHANNELS:
            raise UserError(f"{problem}needed: save {key}.transpose(0, 2, 3, 1)")
        if shape[3] == 4:
            raise UserError(f"{problem}needed: leave out transparency with {key}[..., :3]")
        raise UserError(f"{problem}needed: choose 1 or 3 of the {shape[3]} channels")
    if not pixels.size:
        raise UserError(f"{name} has shape {shape}: it holds no pixels")
    return pixels


def _hint_at_conversion(pixels: np.ndarray) -> str:
    """Says how floating-point images become uint8."""
    smallest, largest = float(pixels.min()), float(pixels.max())
    held = f"it holds numbers in {smallest:g}..{largest:g}"
    if smallest >= 0 and largest <= 1:
        return f"{held}: save numpy.round(255 * images).astype(numpy.uint8)"
    if smallest >= -1 and largest <= 1:
        return f"{held}: save numpy.round(127.5 * (images + 1)).astype(numpy.uint8)"
    if smallest >= 0 and largest <= _LARGEST:
        return f"{held}: save numpy.round(images).astype(numpy.uint8)"
    return f"{held}: undo their scaling to get numbers in 0..255, and save these as numpy.uint8"
