"""Which random changes training images go through."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from lelp_jax.core.constraints import NON_NEGATIVE, WHOLE_SHARE
from lelp_jax.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes of training images; all are off by default.

    They are applied in the order of these fields, each with random numbers of its own, so that
    adding one changes nothing about the others.

    Attributes:
        crop: Pixels of zeros added on each side before a window of the original size is cut out at
            a random location; 4 is usual for images of 32 x 32 (He et al., arXiv 1512.03385,
            section 4.2).
        flip: Probability that left and right are exchanged; 0.5 is usual.
        cutout: Side, in pixels, of a square of grey around a random pixel; it may reach beyond the
            border (DeVries and Taylor, arXiv 1708.04552).
    """

    crop: Annotated[int, NON_NEGATIVE] = 0
    flip: Annotated[float, WHOLE_SHARE] = 0.0
    cutout: Annotated[int, NON_NEGATIVE] = 0

    @property
    def changes_images(self) -> bool:
        """Tells whether any image is changed on its own."""
        return bool(self.crop or self.flip or self.cutout)


def check(config: Augmentation, shape: Sequence[int]) -> None:
    """Checks that images are large enough.

    Args:
        config: The changes.
        shape: [height, width, channels] of the images.

    Raises:
        UserError: A crop may miss the image, or a square is larger than it.
    """
    height, width, _ = shape
    size = f"images of {height} x {width} pixels"
    if config.crop >= min(height, width):
        raise UserError(f"crop {config.crop} is too large for {size}; set it below both sides")
    if config.cutout > min(height, width):
        raise UserError(f"cutout {config.cutout} is larger than {size}; set at most their side")
