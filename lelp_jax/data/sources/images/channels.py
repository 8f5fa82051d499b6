"""Grey and coloured images in one array."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

_LOG = logging.getLogger(__name__)
# Weights of red, green and blue in 1/65536: the luma of ITU-R BT.601, rounded as Pillow does.
_LUMA = np.array([19595, 38470, 7471], np.uint32)
_HALF = 1 << 15
_CHUNK = 1024


def unify_channels(splits: Mapping[str, np.ndarray], wanted: int) -> dict[str, np.ndarray]:
    """Brings the images of all splits to one number of channels, and logs what is converted.

    Args:
        splits: Images by the name of what holds them, [rows, height, width, 1 or 3] uint8.
        wanted: 1, 3, or 0 for 1 where all images are grey and else 3.
    """
    channels = wanted or max(images.shape[-1] for images in splits.values())
    unified = {}
    for name, images in splits.items():
        if images.shape[-1] == channels:
            unified[name] = images
            continue
        _LOG.info(
            "%s: %d %s images are converted to %s",
            name,
            len(images),
            *(("grey", "colour") if channels == 3 else ("coloured", "grey")),
        )
        unified[name] = np.repeat(images, 3, axis=-1) if channels == 3 else convert_to_grey(images)
    return unified


def convert_to_grey(images: np.ndarray) -> np.ndarray:
    """Computes the luma of coloured images, [rows, height, width, 1] uint8.

    Args:
        images: Red, green and blue, [rows, height, width, 3] uint8.
    """
    result = np.empty((*images.shape[:-1], 1), np.uint8)
    # In parts, as the sums take four times as much memory as the pixels.
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        result[part, ..., 0] = (images[part] @ _LUMA + _HALF) >> 16
    return result
