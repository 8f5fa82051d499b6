"""Depthwise and pointwise convolutions in turns (Howard et al., arXiv 1704.04861)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import flax.linen as nn
import jax

from lelp_jax.core.constraints import POSITIVE
from lelp_jax.models.convolutional.components import ImageNetwork, classify
from lelp_jax.models.outputs import Outputs

Downsampling = Literal[8, 16, 32]
# Channels and stride of each pair of convolutions, the first one apart (table 1).
_PAIRS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
_PAIRS += [*[(512, 1)] * 5, (1024, 2), (1024, 1)]


class MobileNet(ImageNetwork):
    """A convolution, then 13 pairs of a depthwise 3x3 and a pointwise 1x1 convolution.

    The paper's images have 224 pixels a side, of which a stride of 2 in the first convolution and
    in four pairs leaves 7. Small images keep more of their places: of these five strides, the first
    is 1 for `downsampling` 16, and the first two for 8. 32x32 pixels become 2x2 and 4x4.

    Attributes:
        width: How many times wider than the paper's its layers are; the embedding has 1,024 times
            as many dimensions.
        downsampling: How many pixels a side become one: 32 as in the paper, for images of 100
            pixels or more, 16, or 8, which takes about 4 times as long as 16.
    """

    width: Annotated[float, POSITIVE] = 1.0
    downsampling: Downsampling = 16

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> Outputs:
        """Computes logits [batch, num_outputs] and embedding [batch, 1024 * width], float32.

        Args:
            images: [batch, height, width, channels] float32.
            train: Whether statistics of the batch are used.
        """
        layers = self.choose_layers(train=train)
        first, *strides = adapt_strides([2, *(stride for _, stride in _PAIRS)], self.downsampling)
        x = layers.convolve(images, scale_channels(32, self.width), stride=first)
        x = nn.relu(layers.normalize(x))
        for (channels, _), stride in zip(_PAIRS, strides, strict=True):
            x = layers.convolve(x, x.shape[-1], stride=stride, groups=x.shape[-1])
            x = nn.relu(layers.normalize(x))
            x = layers.convolve(x, scale_channels(channels, self.width), 1)
            x = nn.relu(layers.normalize(x))
        return classify(x, self.num_outputs)


def scale_channels(channels: int, width: float) -> int:
    """Scales a number of channels, to the nearest multiple of 8, and by at most 10 % too little.

    This is the rule of the authors' networks; all widths in both papers' tables follow it.
    """
    scaled = channels * width
    nearest = max(8, int(scaled + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * scaled else nearest + 8


def adapt_strides(strides: Sequence[int], downsampling: int) -> list[int]:
    """Replaces strides of 2 by 1, the first ones first, until their product is `downsampling`."""
    left, result = downsampling, []
    for stride in reversed(strides):
        result.append(stride if stride <= left else 1)
        left //= result[-1]
    return result[::-1]
