"""A few convolutions, sized for CPUs."""

from __future__ import annotations

from typing import Annotated

import flax.linen as nn
import jax

from lelp_jax.core.constraints import AT_LEAST_ONE, NonEmpty
from lelp_jax.models.convolutional.components import ImageNetwork, classify
from lelp_jax.models.convolutional.convolution import pool_maximum
from lelp_jax.models.outputs import Outputs

# Height and width of the smallest image that is halved.
_SMALLEST_HALVED = 4


class SmallCNN(ImageNetwork):
    """Convolutions of 3x3 pixels, each normalised, and the image halved between two of them.

    An image of 28x28 pixels has 28, 14 and 7 pixels a side in the three convolutions of the
    default. What has fewer than 4 pixels a side is halved no more.

    Attributes:
        widths: Channels of the convolutions; the last is the width of the embedding.
    """

    widths: Annotated[tuple[Annotated[int, AT_LEAST_ONE], ...], NonEmpty()] = (32, 64, 128)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> Outputs:
        """Computes logits [batch, num_outputs] and embedding [batch, widths[-1]], float32.

        Args:
            images: [batch, height, width, channels] float32.
            train: Whether statistics of the batch are used.
        """
        layers = self.choose_layers(train=train)
        x = images
        for number, width in enumerate(self.widths):
            if number and min(x.shape[1:3]) >= _SMALLEST_HALVED:
                x = pool_maximum(x)
            x = nn.relu(layers.normalize(layers.convolve(x, width)))
        return classify(x, self.num_outputs)
