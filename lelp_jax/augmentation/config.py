"""Which random changes training images go through."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from lelp_jax.core.constraints import NON_NEGATIVE, WHOLE_SHARE, Range
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
        randaugment_layers: Number of random operations of RandAugment, one after another (Cubuk et
            al., arXiv 1909.13719): rotation, shear, translation, brightness, contrast, color,
            sharpness, autocontrast, equalize, posterize, solarize or none.
        randaugment_magnitude: Strength of these operations; 10 is the strongest of AutoAugment. The
            paper trains ResNet-50 with 2 layers of magnitude 9.
        brightness: Brightness is multiplied by a random factor, uniform from 1 - brightness to
            1 + brightness.
        contrast: The same for contrast; the three are applied in random order.
        saturation: The same for saturation; without effect on images of one channel.
        cutout: Side, in pixels, of a square of grey around a random pixel; it may reach beyond the
            border (DeVries and Taylor, arXiv 1708.04552).
        mixup: Alpha of mixup, which averages pairs of images and of labels with a random share from
            Beta(alpha, alpha) (Zhang et al., arXiv 1710.09412); 0.2 to 1 are usual.
        cutmix: Alpha of CutMix, which pastes a random rectangle of another image (Yun et al., arXiv
            1905.04899); 1 is usual. With both, each image takes one of the two.
    """

    crop: Annotated[int, NON_NEGATIVE] = 0
    flip: Annotated[float, WHOLE_SHARE] = 0.0
    randaugment_layers: Annotated[int, NON_NEGATIVE] = 0
    randaugment_magnitude: Annotated[int, Range(0, 30, "[]")] = 0
    brightness: Annotated[float, WHOLE_SHARE] = 0.0
    contrast: Annotated[float, WHOLE_SHARE] = 0.0
    saturation: Annotated[float, WHOLE_SHARE] = 0.0
    cutout: Annotated[int, NON_NEGATIVE] = 0
    mixup: Annotated[float, NON_NEGATIVE] = 0.0
    cutmix: Annotated[float, NON_NEGATIVE] = 0.0

    def __post_init__(self) -> None:
        if bool(self.randaugment_layers) != bool(self.randaugment_magnitude):
            raise UserError(
                f"randaugment_layers {self.randaugment_layers} and randaugment_magnitude "
                f"{self.randaugment_magnitude} belong together; set both, 2 and 9 are usual, or "
                "neither"
            )

    @property
    def changes_images(self) -> bool:
        """Tells whether any image is changed on its own."""
        return bool(
            self.crop or self.flip or self.randaugment_layers or self.jitters_color or self.cutout
        )

    @property
    def mixes_images(self) -> bool:
        """Tells whether images are mixed with one another."""
        return bool(self.mixup or self.cutmix)

    @property
    def jitters_color(self) -> bool:
        """Tells whether brightness, contrast or saturation are changed."""
        return bool(self.brightness or self.contrast or self.saturation)


def check(config: Augmentation, shape: Sequence[int]) -> None:
    """Checks that the rows are images, and large enough.

    Args:
        config: The changes.
        shape: Shape of a row: [height, width, channels] of images.

    Raises:
        UserError: They are no images, a crop may miss the image, or a square is larger than it.
    """
    if not (config.changes_images or config.mixes_images):
        return
    if len(shape) != 3:
        raise UserError(
            "augmentation is for images, but the data are not images; leave all of it off"
        )
    height, width, _ = shape
    size = f"images of {height} x {width} pixels"
    if config.crop >= min(height, width):
        raise UserError(f"crop {config.crop} is too large for {size}; set less than either side")
    if config.cutout > min(height, width):
        raise UserError(f"cutout {config.cutout} is larger than {size}; set at most either side")
