"""Residual networks for small images (He et al., arXiv 1512.03385, section 4.2)."""

from __future__ import annotations

from typing import Annotated, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from lelp_jax.core.constraints import AT_LEAST_ONE
from lelp_jax.models.convolutional.components import ImageNetwork, Layers, classify, count_blocks
from lelp_jax.models.outputs import Outputs

Kind = Literal["basic", "bottleneck"]
# Layers of a block, and how many times wider than its 3x3 convolution its result is.
_LAYERS: dict[Kind, int] = {"basic": 2, "bottleneck": 3}
_EXPANSION: dict[Kind, int] = {"basic": 1, "bottleneck": 4}
# The first convolution and the output layer.
_OTHER_LAYERS = 2


class ResidualBlock(nn.Module):
    """Convolutions whose result is added to what they see (section 3.3, figure 5).

    The shortcut has no parameters where sizes differ, either: it leaves out every other row and
    column, and fills new channels with 0 (option A).

    Attributes:
        width: Channels of the 3x3 convolutions.
        stride: Stride of the first 3x3 convolution.
        kind: "basic" for two convolutions of 3x3 pixels, "bottleneck" for 1x1, 3x3 and 1x1.
        layers: Settings of the network.
    """

    width: int
    stride: int
    kind: Kind
    layers: Layers

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes [batch, height / stride, width / stride, width * expansion]."""
        layers, features = self.layers, self.width * _EXPANSION[self.kind]
        if self.kind == "basic":
            y = layers.convolve(x, self.width, stride=self.stride)
        else:
            y = nn.relu(layers.normalize(layers.convolve(x, self.width, 1)))
            y = layers.convolve(y, self.width, stride=self.stride)
        y = nn.relu(layers.normalize(y))
        y = layers.convolve(y, features, 3 if self.kind == "basic" else 1)
        # A block starts as its shortcut (Goyal et al., arXiv 1706.02677, section 5.1). The paper
        # starts at 1, and needs a lower learning rate at first for 110 layers.
        y = layers.normalize(y, initial_scale=0.0)
        shortcut = x[:, :: self.stride, :: self.stride]
        new = features - x.shape[-1]
        return nn.relu(y + jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (0, new))))


class ResNet(ImageNetwork):
    """A convolution, then three stages of residual blocks, each of half the height and width.

    Attributes:
        depth: Number of layers: 6 n + 2 with basic blocks (20, 32, 44, 56, 92, 110), 9 n + 2 with
            bottlenecks (164).
        width: Channels in the first stage; the others have twice and four times as many.
        block: "basic" for blocks of two 3x3 convolutions, "bottleneck" for 1x1, 3x3 and 1x1, the
            last of four times as many channels.
    """

    depth: int = 20
    width: Annotated[int, AT_LEAST_ONE] = 16
    block: Kind = "basic"

    def __post_init__(self) -> None:
        # Refuses depths that do not exist.
        _ = self.blocks
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> Outputs:
        """Computes logits [batch, num_outputs] and embedding [batch, dims], float32.

        Dims are `4 * width` with basic blocks and `16 * width` with bottlenecks.

        Args:
            images: [batch, height, width, channels] float32.
            train: Whether statistics of the batch are used.
        """
        layers = self.choose_layers(train=train)
        x = nn.relu(layers.normalize(layers.convolve(images, self.width)))
        for stage in range(3):
            for number in range(self.blocks):
                stride = 2 if stage and not number else 1
                name = f"stage_{stage}_block_{number}"
                x = ResidualBlock(self.width << stage, stride, self.block, layers, name=name)(x)
        return classify(x, self.num_outputs)

    @property
    def blocks(self) -> int:
        """Blocks in each stage."""
        return count_blocks(self.depth, _LAYERS[self.block], _OTHER_LAYERS)
