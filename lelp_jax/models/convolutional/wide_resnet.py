"""Wide residual networks (Zagoruyko and Komodakis, arXiv 1605.07146)."""

from __future__ import annotations

from typing import Annotated

import flax.linen as nn
import jax

from lelp_jax.core.constraints import AT_LEAST_ONE, SHARE
from lelp_jax.models.convolutional.components import ImageNetwork, Layers, classify, count_blocks
from lelp_jax.models.dropout import Dropout
from lelp_jax.models.outputs import Outputs

_FIRST_WIDTH = 16
_BLOCK_LAYERS = 2
# The paper counts convolutions alone: the first one, and those of the shortcuts of three stages.
_OTHER_LAYERS = 4


class PreactivatedBlock(nn.Module):
    """Two convolutions, each after its normalisation, added to what they see (figure 1d).

    Where the number of channels differs, the shortcut is a 1x1 convolution of the normalised input.

    Attributes:
        features: Channels of the result.
        stride: Stride of the first convolution.
        dropout: Share of values dropped between the convolutions.
        layers: Settings of the network.
    """

    features: int
    stride: int
    dropout: float
    layers: Layers

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes [batch, height / stride, width / stride, features]."""
        layers, stride = self.layers, self.stride
        active = nn.relu(layers.normalize(x))
        y = layers.convolve(active, self.features, stride=stride)
        y = Dropout(self.dropout)(nn.relu(layers.normalize(y)), train=layers.train)
        y = layers.convolve(y, self.features)
        if x.shape[-1] == self.features and stride == 1:
            return x + y
        return layers.convolve(active, self.features, 1, stride) + y


class WideResNet(ImageNetwork):
    """A convolution, then three stages of wide blocks, each of half the height and width.

    Attributes:
        depth: Number of layers, 6 n + 4 (10, 16, 28, 40).
        width: How many times wider than 16, 32 and 64 channels the stages are; WRN-16-4 has 4.
        dropout: Share of values dropped between the convolutions of a block; the paper has 0 or
            0.3.
    """

    depth: int = 16
    width: Annotated[int, AT_LEAST_ONE] = 4
    dropout: Annotated[float, SHARE] = 0.0

    def __post_init__(self) -> None:
        # Refuses depths that do not exist.
        _ = self.blocks
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> Outputs:
        """Computes logits [batch, num_outputs] and embedding [batch, 64 * width], float32.

        Args:
            images: [batch, height, width, channels] float32.
            train: Whether statistics of the batch are used, and dropout is on.
        """
        layers = self.choose_layers(train=train)
        x = layers.convolve(images, _FIRST_WIDTH)
        for stage in range(3):
            for number in range(self.blocks):
                features = (_FIRST_WIDTH << stage) * self.width
                stride = 2 if stage and not number else 1
                name = f"stage_{stage}_block_{number}"
                x = PreactivatedBlock(features, stride, self.dropout, layers, name=name)(x)
        return classify(nn.relu(layers.normalize(x)), self.num_outputs)

    @property
    def blocks(self) -> int:
        """Blocks in each stage."""
        return count_blocks(self.depth, _BLOCK_LAYERS, _OTHER_LAYERS)
