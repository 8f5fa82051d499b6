"""Inverted residual blocks with narrow ends (Sandler et al., arXiv 1801.04381)."""

from __future__ import annotations

from typing import Annotated

import flax.linen as nn
import jax

from lelp_jax.core.constraints import POSITIVE
from lelp_jax.models.convolutional.components import ImageNetwork, Layers, classify
from lelp_jax.models.convolutional.mobilenet import Downsampling, adapt_strides, scale_channels
from lelp_jax.models.outputs import Outputs

# Expansion, channels, blocks and first stride of each stage (table 2).
_STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)]
_STAGES += [(6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


class InvertedResidual(nn.Module):
    """Widens with a 1x1 convolution, convolves each channel, narrows (section 3.4, figure 4d).

    The narrow result has no activation, and is added to the input where their sizes agree.

    Attributes:
        features: Channels of the result.
        stride: Stride of the depthwise convolution.
        expansion: How many times wider than the input the inside is; 1 has no first convolution.
        layers: Settings of the network.
    """

    features: int
    stride: int
    expansion: int
    layers: Layers

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes [batch, height / stride, width / stride, features]."""
        layers, y = self.layers, x
        width = self.expansion * x.shape[-1]
        if self.expansion > 1:
            y = nn.relu6(layers.normalize(layers.convolve(y, width, 1)))
        y = layers.convolve(y, width, stride=self.stride, groups=width)
        y = nn.relu6(layers.normalize(y))
        y = layers.normalize(layers.convolve(y, self.features, 1))
        return x + y if x.shape == y.shape else y


class MobileNetV2(ImageNetwork):
    """A convolution, then 17 inverted residual blocks, then a 1x1 convolution.

    As in `MobileNet`, `downsampling` 16 makes the first of the paper's five strides of 2 a stride
    of 1, and 8 the first two.

    Attributes:
        width: How many times wider than the paper's its layers are. The last one, the embedding,
            has 1,280 dimensions or more.
        downsampling: How many pixels a side become one: 32 as in the paper, for images of 100
            pixels or more, 16, or 8, which takes about 4 times as long as 16.
    """

    width: Annotated[float, POSITIVE] = 1.0
    downsampling: Downsampling = 16

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> Outputs:
        """Computes logits [batch, num_outputs] and embedding [batch, 1280 or more], float32.

        Args:
            images: [batch, height, width, channels] float32.
            train: Whether statistics of the batch are used.
        """
        layers = self.choose_layers(train=train)
        strides = [2, *(stride for *_, stride in _STAGES)]
        first, *strides = adapt_strides(strides, self.downsampling)
        x = layers.convolve(images, scale_channels(32, self.width), stride=first)
        x = nn.relu6(layers.normalize(x))
        for stage, (expansion, channels, blocks, _) in enumerate(_STAGES):
            for number in range(blocks):
                features = scale_channels(channels, self.width)
                stride = 1 if number else strides[stage]
                name = f"stage_{stage}_block_{number}"
                x = InvertedResidual(features, stride, expansion, layers, name=name)(x)
        x = layers.convolve(x, scale_channels(1280, max(self.width, 1.0)), 1)
        return classify(nn.relu6(layers.normalize(x)), self.num_outputs)
