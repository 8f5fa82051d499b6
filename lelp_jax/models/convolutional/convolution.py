"""Convolution and pooling of images."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

# He initialisation of the outputs' side (He et al., arXiv 1502.01852, section 2.2).
_INITIAL = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Convolution(nn.Module):
    """A convolution without bias, of images in the layout [batch, height, width, channels].

    The image is padded by `size // 2` zeros on each side, so that an image of odd size keeps its
    middle at any stride.

    Attributes:
        features: Channels of the result.
        size: Height and width of the kernel.
        stride: Pixels between two places of the kernel.
        groups: In how many groups the channels are convolved; as many as channels, each of its own.
        compute_dtype: Type of the products.
    """

    features: int
    size: int = 3
    stride: int = 1
    groups: int = 1
    compute_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Computes [batch, height / stride, width / stride, features]."""
        shape = (self.size, self.size, inputs.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", _INITIAL, shape)
        return jax.lax.conv_general_dilated(
            inputs.astype(self.compute_dtype),
            kernel.astype(self.compute_dtype),
            (self.stride, self.stride),
            [(self.size // 2, self.size // 2)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )


def pool_maximum(inputs: jax.Array, size: int = 2) -> jax.Array:
    """Computes the maximum of each square, [batch, height / size, width / size, channels].

    Rows and columns that do not fill a square are left out.

    Args:
        inputs: [batch, height, width, channels].
        size: Height and width of a square.
    """
    batch, height, width, channels = inputs.shape
    rows, columns = height // size, width // size
    cut = inputs[:, : rows * size, : columns * size]
    return cut.reshape(batch, rows, size, columns, size, channels).max(axis=(2, 4))
